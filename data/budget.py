"""`PixelBudget`: how many pixels are decoded and held at once, however many threads there are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

BUDGET = 96_000_000
"""Pixels of images under way at once in a corpus run; each takes three bytes as RGB, and more while it is read."""


class PixelBudget:
    """Lets threads in as long as their images fit together; a larger image waits until it is alone.

    Args:
        pixels: Most pixels at once.
    """

    def __init__(self, pixels: int = BUDGET) -> None:
        self._limit, self._held = pixels, 0
        self._change = threading.Condition()

    @contextmanager
    def holding(self, pixels: int) -> Iterator[None]:
        """Wait until `pixels` more fit, and hold them for the length of the block."""
        with self._change:
            self._change.wait_for(lambda: not self._held or self._held + pixels <= self._limit)
            self._held += pixels
        try:
            yield
        finally:
            with self._change:
                self._held -= pixels
                self._change.notify_all()
