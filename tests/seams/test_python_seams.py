"""What we rely on in the standard library beyond its documentation; see programs/seams/python_seams.py."""

from concurrent.futures import Future
from threading import Thread

from gmner.programs.seams.python_seams import renew_lock


def test_renewed_lock_of_a_future():
    future: Future[int] = Future()
    assert hasattr(future, "_condition"), "Future._condition has moved: adapt programs/seams/python_seams.py"
    holder = Thread(target=future._condition.acquire)  # a thread that ends with the lock, as one of the parent does
    holder.start()
    holder.join()
    renew_lock(future)
    future.set_result(3)
    assert future.result(timeout=0) == 3
