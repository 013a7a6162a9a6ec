"""`Batcher`: collects calls from many threads for one worker thread, which runs a scheduler."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Generic, Protocol, TypeVar

from gmner.programs.engine.forking import Pausable
from gmner.programs.seams.python_seams import renew_lock
from gmner.signatures.errors import EngineError, ModelError

_LOG = logging.getLogger(__name__)

Question = TypeVar("Question")
Reply = TypeVar("Reply")

Abandoned = Callable[[], bool]
"""Returns whether the caller has given up waiting for its reply. May be called at any time."""

_end: ContextVar[threading.Event | None] = ContextVar("_end", default=None)


def awaited() -> bool:
    """The `Abandoned` of a question that cannot be cancelled: always False."""
    return False


@contextmanager
def ending_with(end: threading.Event) -> Iterator[None]:
    """Cancel the questions that are submitted within the block once `end` is set.

    Also covers questions from threads that run in a copy of this context. Waiting for a cancelled question raises
    `CancelledError`.
    """
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def ended_within(seconds: float) -> bool:
    """Wait up to `seconds`; return early, and True, if the event of `ending_with` is set."""
    end = _end.get()
    if end is not None:
        return end.wait(seconds)
    time.sleep(seconds)
    return False


class PendingCall(Generic[Question, Reply]):
    """A submitted question and the future of its reply.

    Attributes:
        question: The question.
        future: Its reply; can be cancelled until the reply is set.
    """

    def __init__(self, question: Question) -> None:
        self.question, self.future, self._end = question, Future[Reply](), _end.get()

    def abandoned(self) -> bool:
        """See `Abandoned`; cancels the future when the event of `ending_with` is set."""
        if self._end is not None and self._end.is_set():
            # Cancelling runs the caller's callbacks; their errors must not end the worker.
            with suppress(BaseException):
                self.future.cancel()
        return self.future.cancelled()

    def settle(self, reply: Reply | BaseException) -> None:
        """Set the reply, unless the future is done or cancelled. Never raises."""
        if self.abandoned() or self.future.done():
            return
        try:
            if not self.future.set_running_or_notify_cancel():
                return
            if isinstance(reply, BaseException):
                self.future.set_exception(_raisable(reply))
            else:
                self.future.set_result(reply)
        except BaseException:  # a callback raised, or the future was settled by another thread in between
            _LOG.exception("A reply could not be delivered")

    def forked(self) -> None:
        """Fail the call in a forked process, where no worker thread will settle it."""
        if self.future.done():
            return
        renew_lock(self.future)
        remedy = "Call the program again in this process"
        self.settle(EngineError("The process was forked before this call was answered", remedy=remedy))


def _raisable(error: BaseException) -> Exception:
    """An exception that is safe to raise in the caller's thread.

    A KeyboardInterrupt or SystemExit of the worker would end the caller instead. A future of asyncio refuses
    StopIteration, and its caller would wait for ever.
    """
    if isinstance(error, Exception) and not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    failure = EngineError("The engine was interrupted before the call was answered", received=error)
    failure.__cause__ = error
    return failure


class Scheduler(Protocol[Question, Reply]):
    """Decides which calls run together, and settles them.

    Called from one thread only. An exception that a method raises settles every active call.
    """

    @property
    def capacity(self) -> int:
        """Number of calls that can be admitted now; at least 1 when no call is active."""

    @property
    def active(self) -> bool:
        """Whether there are calls that are not settled yet."""

    def admit(self, calls: Sequence[PendingCall[Question, Reply]]) -> None:
        """Take over calls: from now on they are active until they are settled."""

    def step(self) -> None:
        """Advance the active calls by one step, and settle those that are complete."""

    def forget(self) -> None:
        """Drop every active call without settling it."""


_EXIT_TIMEOUT = 5.0
# Seconds that the interpreter waits for each worker at exit. A worker stops after its current token.

_batchers: weakref.WeakSet[Batcher[Any, Any]] = weakref.WeakSet()
_workers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class Batcher(Pausable, Generic[Question, Reply]):
    """Passes questions from many threads to one scheduler (continuous batching).

    New questions are admitted while others are active. If the worker thread ends by an unexpected error, every call is
    settled with an `EngineError`, and later calls raise one. A forked process starts a worker of its own; calls that
    were active during the fork are answered in the parent, and raise an `EngineError` in the child.

    Args:
        scheduler: Runs the calls.
        window: Seconds to wait for more questions after the first one, when no call is active.
        forkable: Returns whether the scheduler can be used in a forked process.
        renewed: Whether each further question starts the window again.
    """

    def __init__(
        self,
        scheduler: Scheduler[Question, Reply],
        window: float = 0.008,
        forkable: Callable[[], bool] = lambda: True,
        *,
        renewed: bool = False,
    ) -> None:
        self._scheduler, self._window, self._forkable, self._renewed = scheduler, window, forkable, renewed
        self._closed = False
        self._failure: EngineError | None = None
        self._start_over()
        super().__init__()
        _batchers.add(self)

    def _start_over(self) -> None:
        self._state = threading.Lock()
        self._queue: queue.SimpleQueue[PendingCall[Question, Reply] | None] = queue.SimpleQueue()
        self._active_calls: list[PendingCall[Question, Reply]] = []
        self._open: weakref.WeakSet[PendingCall[Question, Reply]] = weakref.WeakSet()
        self._worker: threading.Thread | None = None

    def submit(self, *questions: Question) -> list[Future[Reply]]:
        """Queue questions, and return the futures of their replies, in order.

        Raises:
            ModelError: The batcher is closed.
            EngineError: The worker ended by an error, or the scheduler cannot be used in this forked process.
        """
        calls: list[PendingCall[Question, Reply]] = [PendingCall(question) for question in questions]
        with self._state:
            if self._closed:
                raise ModelError("The engine is closed", remedy="Load the model again")
            self._start()
            for call in calls:
                self._open.add(call)
                self._queue.put(call)
        return [call.future for call in calls]

    def _start(self) -> None:
        """Start the worker if there is none; raise if the last one failed."""
        if self._worker is not None and not self._worker.is_alive() and self._failure is None:
            self._failure = _stopped(None)
        if self._failure is not None:
            raise _copied(self._failure)
        if self._worker is None:
            worker = threading.Thread(target=self._run, name="gmner-batches", daemon=True)
            try:
                worker.start()
            except RuntimeError as error:
                raise EngineError("The engine's worker thread cannot be started", received=str(error)) from error
            self._worker = worker
            _workers.add(worker)

    def close(self) -> None:
        """Settle all queued and active calls, then end the worker. A second call does nothing."""
        worker = self.end()
        if worker is not None and worker is not threading.current_thread():
            worker.join()

    def end(self) -> threading.Thread | None:
        """Begin to close without waiting.

        Returns:
            The worker thread, which ends once all calls are settled; None if there is none.
        """
        with self._state:
            self._closed = True
            self._queue.put(None)
            return self._worker

    def give_up(self) -> None:
        """Close, and cancel the active calls."""
        self.end()
        for call in list(self._active_calls):
            with suppress(BaseException):
                call.future.cancel()

    def forked(self, paused: bool) -> None:
        """See `Pausable`."""
        failed = None
        if not paused:
            failed = EngineError("A process was forked while the engine was busy", remedy="Start processes by `spawn`")
        elif self._worker is not None and not self._forkable():
            failed = EngineError(
                "A forked process cannot use a model on a GPU",
                remedy="Start processes by `spawn`, or load the model in each of them",
            )
        self._failure = self._failure or failed
        left = list(self._open)
        self._start_over()
        self._scheduler.forget()
        for call in left:
            call.forked()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._work()
        except BaseException as unforeseen:
            error = unforeseen
        finally:
            self._end_with(error)

    def _end_with(self, error: BaseException | None) -> None:
        """Settle every remaining call after the worker has ended; without this their callers would wait for ever."""
        with self._state:
            if error is not None or not self._closed:
                _LOG.critical("The engine's worker thread ended with an error", exc_info=error)
                self._failure = _stopped(error)
            left = list(self._active_calls)
            while not self._queue.empty():
                if (call := self._queue.get_nowait()) is not None:
                    left.append(call)
            self._active_calls = []
        for call in left:
            call.settle(_stopped(error))  # a new exception each: raising one adds a traceback to it

    def _work(self) -> None:
        closing = False
        while not closing or self._scheduler.active:
            collected: list[PendingCall[Question, Reply]] = []
            if not closing:
                collected, closing = self._collect()
            self._active_calls = [call for call in (*self._active_calls, *collected) if not call.future.done()]
            with self.pausable():
                try:
                    if awaited_calls := [call for call in collected if not call.abandoned()]:
                        self._scheduler.admit(awaited_calls)
                    self._scheduler.step()
                except BaseException as error:
                    for call in self._active_calls:
                        call.settle(error)
                    # The scheduler's state is unknown after an error, and the next step would fail the same way.
                    if self._scheduler.active:
                        self._scheduler.forget()

    def _collect(self) -> tuple[list[PendingCall[Question, Reply]], bool]:
        """Take as many queued calls as the scheduler has capacity for.

        Returns at once while calls are active, so that they are not delayed. Otherwise waits for the first call, and
        then up to `window` seconds for more, counted from the first or, with `renewed`, from the last one.

        Returns:
            The calls, and whether the batcher was closed: None in the queue is the end mark.
        """
        calls: list[PendingCall[Question, Reply]] = []
        try:
            busy, capacity, deadline = self._scheduler.active, self._scheduler.capacity, 0.0
            while len(calls) < capacity:
                try:
                    if busy:
                        call = self._queue.get_nowait()
                    else:
                        call = self._queue.get(timeout=max(0.0, deadline - time.monotonic()) if calls else None)
                except queue.Empty:
                    break
                if call is None:
                    return calls, True
                if not calls or self._renewed:
                    deadline = time.monotonic() + self._window
                calls.append(call)
        except BaseException:
            self._active_calls += calls
            raise
        return calls, False


def _stopped(cause: BaseException | None) -> EngineError:
    failure = EngineError(
        "The engine's worker thread ended with an error", received=cause, remedy="Load the model again"
    )
    failure.__cause__ = cause
    return failure


def _copied(failure: EngineError) -> EngineError:
    """A new exception with the same content: raising one exception in several threads would mix their tracebacks."""
    fresh = EngineError(failure.fact, received=failure.received, remedy=failure.remedy)
    fresh.__cause__ = failure.__cause__
    return fresh


def _end_all() -> None:
    """Stop the workers before the interpreter exits: a daemon thread killed inside torch crashes the process."""
    for batcher in list(_batchers):
        batcher.give_up()
    end = time.monotonic() + _EXIT_TIMEOUT
    for worker in list(_workers):
        worker.join(max(0.0, end - time.monotonic()))


atexit.register(_end_all)
