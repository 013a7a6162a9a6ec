"""`ByteBudget`: limits the total memory of images in all threads, while they are decoded or used by calls."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from weakref import WeakSet

from gmner.data.images.decoding import MAX_DECODED

_budgets: WeakSet[ByteBudget] = WeakSet()


class ByteBudget:
    """A first-in, first-out semaphore that counts bytes.

    A request above the limit waits until no bytes are held. A caller that already holds bytes gets more without
    waiting, because waiting could deadlock.

    Args:
        limit: Maximum number of bytes held at the same time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside: ContextVar[bool] = ContextVar("inside", default=False)
        self._start_over()
        _budgets.add(self)

    def _start_over(self) -> None:
        self._lock, self._held = threading.Lock(), 0
        self._waiting: deque[tuple[int, Future[None]]] = deque()

    @contextmanager
    def holding(self, amount: int) -> Iterator[None]:
        """Wait until `amount` more bytes are available, and hold them for the duration of the block."""
        turn = self._request(amount)
        try:
            turn.result()
        except BaseException:
            self._withdraw(amount, turn)
            raise
        with self._holding(amount):
            yield

    @asynccontextmanager
    async def aholding(self, amount: int) -> AsyncIterator[None]:
        """`holding` for asyncio; does not block a thread."""
        turn = self._request(amount)
        try:
            await asyncio.wrap_future(turn)
        except BaseException:
            self._withdraw(amount, turn)
            raise
        with self._holding(amount):
            yield

    @contextmanager
    def _holding(self, amount: int) -> Iterator[None]:
        token = self._inside.set(True)
        try:
            yield
        finally:
            self._inside.reset(token)
            self._release(amount)

    def _request(self, amount: int) -> Future[None]:
        """A future that is done when the bytes are held."""
        turn: Future[None] = Future()
        with self._lock:
            if self._inside.get():
                self._held += amount
                turn.set_result(None)
            else:
                self._waiting.append((amount, turn))
        self._admit()
        return turn

    def _withdraw(self, amount: int, turn: Future[None]) -> None:
        """Cancel a request after its caller was interrupted."""
        if turn.cancel() or turn.cancelled():
            self._admit()
        else:
            self._release(amount)

    def _release(self, amount: int) -> None:
        with self._lock:
            self._held = max(0, self._held - amount)  # a fork inside of a block resets the budget
        self._admit()

    def _admit(self) -> None:
        """Grant requests from the front of the queue while they fit."""
        with self._lock:
            while self._waiting:
                amount, turn = self._waiting[0]
                if self._held and self._held + amount > self._limit and not turn.cancelled():
                    return
                self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    self._held += amount
                    turn.set_result(None)


def _start_over() -> None:
    """Reset all budgets in a forked process, where the threads that held bytes do not exist."""
    for budget in _budgets:
        budget._start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)

DECODING = ByteBudget(MAX_DECODED)
"""Memory for decoding and converting images in this process."""

HELD = ByteBudget(512 * 2**20)
"""Memory for the opened images of all active calls in this process, including their copies in prompts."""
