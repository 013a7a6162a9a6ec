"""Calls from many threads become batches of one model."""

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
from gmner.signatures.errors import EngineError, ModelError

_LOG = logging.getLogger(__name__)

Question = TypeVar("Question")
Reply = TypeVar("Reply")

Abandoned = Callable[[], bool]
"""Says whether nobody waits for a reply any more; may be asked at any time."""

_end: ContextVar[threading.Event | None] = ContextVar("_end", default=None)


def awaited() -> bool:
    """The `Abandoned` of a question that somebody always waits for."""
    return False


@contextmanager
def ending_with(end: threading.Event) -> Iterator[None]:
    """Questions that are handed in from this context, copied into other threads or not, are given up when `end` is set.

    Whoever waits for one of them gets a `CancelledError`.
    """
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def ended_within(seconds: float) -> bool:
    """Wait, and say whether the run of this context ended meanwhile; see `ending_with`."""
    end = _end.get()
    if end is not None:
        return end.wait(seconds)
    time.sleep(seconds)
    return False


class PendingCall(Generic[Question, Reply]):
    """A question that was handed in.

    Attributes:
        question: The question.
        future: Its reply; it can be cancelled until that is there.
    """

    def __init__(self, question: Question) -> None:
        self.question, self.future, self._end = question, Future[Reply](), _end.get()

    def abandoned(self) -> bool:
        """See `Abandoned`; gives the future up when the end has come."""
        if self._end is not None and self._end.is_set():
            with suppress(BaseException):  # of a callback of the caller's
                self.future.cancel()
        return self.future.cancelled()

    def settle(self, reply: Reply | BaseException) -> None:
        """Set the reply, unless the future has one already or was cancelled; raises nothing."""
        if self.abandoned() or self.future.done():
            return
        try:
            if not self.future.set_running_or_notify_cancel():
                return
            if isinstance(reply, BaseException):
                self.future.set_exception(_raisable(reply))
            else:
                self.future.set_result(reply)
        except BaseException:  # a callback of the caller's, or a future that was settled in between
            _LOG.exception("A reply could not be delivered")

    def forked(self) -> None:
        """Raise to whoever waits in a forked process, where no worker has this call."""
        if self.future.done():
            return
        self.future._condition = threading.Condition()  # the lock may be held by a thread that only the parent has
        remedy = "call the program again in this process"
        self.settle(EngineError("The process was forked before this call was answered", remedy=remedy))


def _raisable(error: BaseException) -> Exception:
    """An exception that a waiting caller may get: an interrupt of the worker must not look like one of the caller."""
    if isinstance(error, Exception) and not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error  # asyncio takes no StopIteration, and would wait for ever
    failure = EngineError("The engine was interrupted while it answered", received=error)
    failure.__cause__ = error
    return failure


class Scheduler(Protocol[Question, Reply]):
    """Who answers; called by one thread. What it raises is raised to every caller that waits for it."""

    @property
    def capacity(self) -> int:
        """How many calls it would take now; more than none where it has nothing in hand."""

    @property
    def active(self) -> bool:
        """Whether it has calls in hand."""

    def admit(self, calls: Sequence[PendingCall[Question, Reply]]) -> None:
        """Take calls in hand."""

    def step(self) -> None:
        """Work on what is in hand for a while, and settle what is done."""

    def forget(self) -> None:
        """Drop every call without settling it."""


_LAST = 5.0
# Seconds that the end of the process waits for a worker: it stops at its next token.

_batchers: weakref.WeakSet[Batcher[Any, Any]] = weakref.WeakSet()
_workers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class Batcher(Pausable, Generic[Question, Reply]):
    """Hands questions from many threads to one scheduler, several at a time, also while it works on others.

    A worker that ends by an unforeseen error settles every call with an `EngineError`, and later calls raise one.
    In a forked process the worker is started anew. Calls that were under way are answered in the parent alone; in the
    child they raise an `EngineError`.

    Args:
        scheduler: Who answers.
        window: Seconds to wait for more questions after the first, where the scheduler has nothing in hand.
        forkable: Whether the scheduler works in a forked process.
    """

    def __init__(
        self, scheduler: Scheduler[Question, Reply], window: float = 0.008, forkable: Callable[[], bool] = lambda: True
    ) -> None:
        self._scheduler, self._window, self._forkable = scheduler, window, forkable
        self._closed = False
        self._failure: EngineError | None = None
        self._start_over()
        super().__init__()
        _batchers.add(self)

    def _start_over(self) -> None:
        self._state = threading.Lock()
        self._waiting: queue.SimpleQueue[PendingCall[Question, Reply] | None] = queue.SimpleQueue()
        self._in_hand: list[PendingCall[Question, Reply]] = []
        self._open: weakref.WeakSet[PendingCall[Question, Reply]] = weakref.WeakSet()
        self._worker: threading.Thread | None = None

    def submit(self, *questions: Question) -> list[Future[Reply]]:
        """Hand in questions; they are answered with the others that wait.

        Raises:
            ModelError: The batcher is closed.
            EngineError: The worker ended by an error, or the scheduler does not work in this forked process.
        """
        calls: list[PendingCall[Question, Reply]] = [PendingCall(question) for question in questions]
        with self._state:
            if self._closed:
                raise ModelError("The engine is closed", remedy="load the model again")
            self._start()
            for call in calls:
                self._open.add(call)
                self._waiting.put(call)
        return [call.future for call in calls]

    def _start(self) -> None:
        """Start the worker where there is none."""
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
        """Answer what waits, then end the worker. A second call does nothing."""
        worker = self.end()
        if worker is not None and worker is not threading.current_thread():
            worker.join()

    def end(self) -> threading.Thread | None:
        """`close` without waiting for the worker, which is returned."""
        with self._state:
            self._closed = True
            self._waiting.put(None)
            return self._worker

    def give_up(self) -> None:
        """`end`, and cancel what is under way."""
        self.end()
        for call in list(self._in_hand):
            with suppress(BaseException):
                call.future.cancel()

    def forked(self, paused: bool) -> None:
        """See `Pausable`."""
        failed = None
        if not paused:
            failed = EngineError("A process was forked while the engine was busy", remedy="start processes by `spawn`")
        elif self._worker is not None and not self._forkable():
            failed = EngineError(
                "A forked process cannot use a model on a GPU",
                remedy="start processes by `spawn`, or load the model in each of them",
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
        """Settle every call that is left, once the worker has ended."""
        with self._state:
            if error is not None or not self._closed:
                _LOG.critical("The engine's worker ended by an error", exc_info=error)
                self._failure = _stopped(error)
            left = list(self._in_hand)
            while not self._waiting.empty():
                if (call := self._waiting.get_nowait()) is not None:
                    left.append(call)
            self._in_hand = []
        for call in left:
            call.settle(_stopped(error))  # one each, as raising adds a traceback

    def _work(self) -> None:
        last = False
        while not last or self._scheduler.active:
            taken: list[PendingCall[Question, Reply]] = []
            if not last:
                taken, last = self._collect()
            self._in_hand = [call for call in (*self._in_hand, *taken) if not call.future.done()]
            with self.pausable():
                try:
                    if wanted := [call for call in taken if not call.abandoned()]:
                        self._scheduler.admit(wanted)
                    self._scheduler.step()
                except BaseException as error:
                    for call in self._in_hand:
                        call.settle(error)
                    if self._scheduler.active:
                        self._scheduler.forget()  # it would fail for ever

    def _collect(self) -> tuple[list[PendingCall[Question, Reply]], bool]:
        """What waits and finds room; where nothing is in hand, wait for it. Also whether that was the last."""
        calls: list[PendingCall[Question, Reply]] = []
        try:
            busy, room, end = self._scheduler.active, self._scheduler.capacity, 0.0
            while len(calls) < room:
                try:
                    if busy:
                        call = self._waiting.get_nowait()
                    else:
                        call = self._waiting.get(timeout=max(0.0, end - time.monotonic()) if calls else None)
                except queue.Empty:
                    break
                if call is None:
                    return calls, True
                if not calls:
                    end = time.monotonic() + self._window
                calls.append(call)
        except BaseException:
            self._in_hand += calls
            raise
        return calls, False


def _stopped(cause: BaseException | None) -> EngineError:
    failure = EngineError("The engine's worker ended by an error", received=cause, remedy="load the model again")
    failure.__cause__ = cause
    return failure


def _copied(failure: EngineError) -> EngineError:
    """An exception of its own for each caller, as raising adds a traceback."""
    fresh = EngineError(failure.fact, received=failure.received, remedy=failure.remedy)
    fresh.__cause__ = failure.__cause__
    return fresh


def _end_all() -> None:
    """End the workers before the interpreter does: a thread that it stops within torch takes the process down."""
    for batcher in list(_batchers):
        batcher.give_up()
    end = time.monotonic() + _LAST
    for worker in list(_workers):
        worker.join(max(0.0, end - time.monotonic()))


atexit.register(_end_all)
