"""`ByteBudget`: how many bytes of images are decoded, or held by calls, at once, however many threads there are."""

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
    """Lets callers in, in the order in which they come, as long as their bytes fit together.

    A caller that needs more than the limit waits until it is alone. A caller that holds bytes already does not wait for
    more: others could wait for those that it holds.

    Args:
        limit: Most bytes at once.
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
        """Wait until `amount` more bytes fit, and hold them for the length of the block."""
        turn = self._asked(amount)
        try:
            turn.result()
        except BaseException:
            self._withdraw(amount, turn)
            raise
        with self._held_for(amount):
            yield

    @asynccontextmanager
    async def aholding(self, amount: int) -> AsyncIterator[None]:
        """`holding` for asyncio: waits without a thread."""
        turn = self._asked(amount)
        try:
            await asyncio.wrap_future(turn)
        except BaseException:
            self._withdraw(amount, turn)
            raise
        with self._held_for(amount):
            yield

    @contextmanager
    def _held_for(self, amount: int) -> Iterator[None]:
        token = self._inside.set(True)
        try:
            yield
        finally:
            self._inside.reset(token)
            self._give_back(amount)

    def _asked(self, amount: int) -> Future[None]:
        """A future that is done when the bytes are held."""
        turn: Future[None] = Future()
        with self._lock:
            if self._inside.get():
                self._held += amount
                turn.set_result(None)
            else:
                self._waiting.append((amount, turn))
        self._let_in()
        return turn

    def _withdraw(self, amount: int, turn: Future[None]) -> None:
        """After an interrupt of the one who waits."""
        if turn.cancel() or turn.cancelled():
            self._let_in()
        else:
            self._give_back(amount)

    def _give_back(self, amount: int) -> None:
        with self._lock:
            self._held = max(0, self._held - amount)  # a forked process starts over inside of a block
        self._let_in()

    def _let_in(self) -> None:
        """Let in those whose turn it is and who fit."""
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
    """In a forked process the threads that held bytes are not there."""
    for budget in _budgets:
        budget._start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)

DECODING = ByteBudget(MAX_DECODED)
"""Bytes that decoding and converting take, of all images that are being opened in this process."""

HELD = ByteBudget(512 * 2**20)
"""Bytes of the opened images of all calls under way in this process, their copies in prompts included."""
