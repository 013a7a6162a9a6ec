"""Micro-batches: calls from many threads become batches of one model."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

from gmner.signatures.errors import ModelError

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


class MicroBatcher(Generic[Question, Reply]):
    """Collects questions from many threads into batches, answered one batch at a time.

    Args:
        answer: Answers a batch: one reply, or the exception that stands for it, a question, in order; of each question
            it is told how to see that it is abandoned. Called by one thread at a time. What it raises is raised to
            every caller of the batch.
        max_batch: Most questions of a batch.
        window: Seconds to wait for more questions after the first.
    """

    def __init__(
        self,
        answer: Callable[[list[Question], list[Abandoned]], list[Reply | Exception]],
        max_batch: int = 16,
        window: float = 0.008,
    ) -> None:
        self._answer, self._max_batch, self._window = answer, max_batch, window
        self._busy = threading.Lock()
        self._state = threading.Lock()
        self._waiting: queue.SimpleQueue[_Call[Question, Reply] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._closed = False

    def submit(self, question: Question) -> Future[Reply]:
        """Hand in a question; it is answered with the others that wait. Its future can be cancelled until it is done.

        Raises:
            ModelError: The batcher is closed.
        """
        call: _Call[Question, Reply] = _Call(question)
        with self._state:
            if self._closed:
                raise ModelError("The engine is closed", remedy="load the model again")
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="gmner-batches", daemon=True)
                self._worker.start()
            self._waiting.put(call)
        return call.future

    def run(self, questions: Sequence[Question]) -> list[Reply | Exception]:
        """Answer many questions at once in batches of `max_batch`, on the calling thread, in order."""
        replies: list[Reply | Exception] = []
        for start in range(0, len(questions), self._max_batch):
            batch = list(questions[start : start + self._max_batch])
            with self._busy:
                replies.extend(self._answer(batch, [awaited] * len(batch)))
        return replies

    def close(self) -> None:
        """Answer what waits, then end the worker. A second call does nothing."""
        with self._state:
            self._closed = True
            worker = self._worker
            self._waiting.put(None)
        if worker is not None and worker is not threading.current_thread():
            worker.join()

    def _work(self) -> None:
        last = False
        while not last and (first := self._waiting.get()) is not None:
            batch, last = self._collect(first)
            wanted = [call for call in batch if not call.abandoned()]
            replies = self._replies(wanted) if wanted else []
            for call, reply in zip(wanted, replies, strict=True):
                call.settle(reply)

    def _collect(self, first: _Call[Question, Reply]) -> tuple[list[_Call[Question, Reply]], bool]:
        batch, end = [first], time.monotonic() + self._window
        while len(batch) < self._max_batch:
            try:
                more = self._waiting.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            if more is None:
                return batch, True
            batch.append(more)
        return batch, False

    def _replies(self, calls: list[_Call[Question, Reply]]) -> list[Reply | Exception]:
        try:
            with self._busy:
                return self._answer([call.question for call in calls], [call.abandoned for call in calls])
        except Exception as error:
            return [error] * len(calls)


class _Call(Generic[Question, Reply]):
    """A question that waits, and the future of its reply."""

    def __init__(self, question: Question) -> None:
        self.question, self.future, self._end = question, Future[Reply](), _end.get()

    def abandoned(self) -> bool:
        """See `Abandoned`; gives the future up when the end has come."""
        if self._end is not None and self._end.is_set():
            self.future.cancel()
        return self.future.cancelled()

    def settle(self, reply: Reply | Exception) -> None:
        """Hand the reply over, if it is still wanted."""
        if self.abandoned() or not self.future.set_running_or_notify_cancel():
            return
        if isinstance(reply, Exception):
            self.future.set_exception(reply)
        else:
            self.future.set_result(reply)
