"""The private part of the standard library that we use.

`tests/seams/test_python_seams.py` fails with the name of the seam if it has moved.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any


def renew_lock(future: Future[Any]) -> None:
    """Give a future of the parent process a new lock, in a forked child.

    Relies on `Future._condition`. A thread that does not exist in the child may have held the old lock, which would
    never be released; a new future would not reach those who wait for this one. Python 3.11 to 3.13.
    """
    future._condition = threading.Condition()
