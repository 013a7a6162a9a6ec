"""Micro-batches: calls from many threads become batches of one model."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from gmner.signatures.errors import ModelError

Question = TypeVar("Question")
Reply = TypeVar("Reply")


class MicroBatcher(Generic[Question, Reply]):
    """Collects questions from many threads into batches, answered one batch at a time.

    Args:
        answer: Answers a batch: one reply, or the exception that stands for it, a question, in order. Called by one
            thread at a time. What it raises is raised to every caller of the batch.
        max_batch: Most questions of a batch.
        window: Seconds to wait for more questions after the first.
    """

    def __init__(
        self, answer: Callable[[list[Question]], list[Reply | Exception]], max_batch: int = 16, window: float = 0.008
    ) -> None:
        self._answer, self._max_batch, self._window = answer, max_batch, window
        self._busy = threading.Lock()
        self._state = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Question, Future[Reply]] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._closed = False

    def submit(self, question: Question) -> Future[Reply]:
        """Hand in a question; it is answered with the others that wait.

        Raises:
            ModelError: The batcher is closed.
        """
        future: Future[Reply] = Future()
        with self._state:
            if self._closed:
                raise ModelError("The engine is closed", remedy="load the model again")
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="gmner-batches", daemon=True)
                self._worker.start()
            self._waiting.put((question, future))
        return future

    def run(self, questions: Sequence[Question]) -> list[Reply | Exception]:
        """Answer many questions at once in batches of `max_batch`, on the calling thread, in order."""
        replies: list[Reply | Exception] = []
        for start in range(0, len(questions), self._max_batch):
            with self._busy:
                replies.extend(self._answer(list(questions[start : start + self._max_batch])))
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
        while (first := self._waiting.get()) is not None:
            batch, last = self._collect(first)
            batch = [(question, future) for question, future in batch if future.set_running_or_notify_cancel()]
            if batch:
                self._settle(batch)
            if last:
                return

    def _collect(self, first: tuple[Question, Future[Reply]]) -> tuple[list[tuple[Question, Future[Reply]]], bool]:
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

    def _settle(self, batch: list[tuple[Question, Future[Reply]]]) -> None:
        try:
            replies = self.run([question for question, _ in batch])
        except Exception as error:
            replies = [error] * len(batch)
        for (_, future), reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
