"""Calls from many threads become batches of one model."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, Protocol, TypeVar

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


def ended_within(seconds: float) -> bool:
    """Wait, and say whether the run of this context ended meanwhile; see `ending_with`."""
    end = _end.get()
    if end is not None:
        return end.wait(seconds)
    time.sleep(seconds)
    return False


class Call(Generic[Question, Reply]):
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


class Desk(Protocol[Question, Reply]):
    """Who answers; called by one thread. What it raises is raised to every caller that waits for it."""

    @property
    def room(self) -> int:
        """How many calls it would take now; more than none where it has nothing in hand."""

    @property
    def busy(self) -> bool:
        """Whether it has calls in hand."""

    def take(self, calls: Sequence[Call[Question, Reply]]) -> None:
        """Take calls in hand."""

    def go_on(self) -> None:
        """Work on what is in hand for a while, and settle what is done."""


class Batcher(Generic[Question, Reply]):
    """Hands questions from many threads to one desk, several at a time, also while it works on others.

    Args:
        desk: Who answers.
        window: Seconds to wait for more questions after the first, where the desk has nothing in hand.
    """

    def __init__(self, desk: Desk[Question, Reply], window: float = 0.008) -> None:
        self._desk, self._window = desk, window
        self._state = threading.Lock()
        self._waiting: queue.SimpleQueue[Call[Question, Reply] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._closed = False

    def submit(self, *questions: Question) -> list[Future[Reply]]:
        """Hand in questions; they are answered with the others that wait.

        Raises:
            ModelError: The batcher is closed.
        """
        calls: list[Call[Question, Reply]] = [Call(question) for question in questions]
        with self._state:
            if self._closed:
                raise ModelError("The engine is closed", remedy="load the model again")
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="gmner-batches", daemon=True)
                self._worker.start()
            for call in calls:
                self._waiting.put(call)
        return [call.future for call in calls]

    def close(self) -> None:
        """Answer what waits, then end the worker. A second call does nothing."""
        with self._state:
            self._closed = True
            worker = self._worker
            self._waiting.put(None)
        if worker is not None and worker is not threading.current_thread():
            worker.join()

    def _work(self) -> None:
        in_hand: list[Call[Question, Reply]] = []
        last = False
        while not last or self._desk.busy:
            taken: list[Call[Question, Reply]] = []
            if not last:
                taken, last = self._collect()
            in_hand = [call for call in (*in_hand, *taken) if not call.future.done()]
            try:
                if wanted := [call for call in taken if not call.abandoned()]:
                    self._desk.take(wanted)
                self._desk.go_on()
            except Exception as error:
                for call in in_hand:
                    call.settle(error)

    def _collect(self) -> tuple[list[Call[Question, Reply]], bool]:
        """What waits and finds room; where nothing is in hand, wait for it. Also whether that was the last."""
        calls: list[Call[Question, Reply]] = []
        busy, room, end = self._desk.busy, self._desk.room, 0.0
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
        return calls, False
