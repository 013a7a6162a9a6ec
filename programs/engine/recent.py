"""`Recent`: a least-recently-used cache with a limit in bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """An LRU cache, limited by the total size and by the number of its values.

    Args:
        most_bytes: Largest total size in bytes; a value larger than this is not kept.
        most: Largest number of values; None: no limit.

    Attributes:
        size: Current total size in bytes.
    """

    def __init__(self, most_bytes: int, most: int | None = None) -> None:
        self._most_bytes, self._most, self.size = most_bytes, most, 0
        self._known: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        """The number of values."""
        return len(self._known)

    def get(self, key: bytes) -> Value | None:
        """Look up a key and mark it as most recently used; None if it is not in the cache."""
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key][0]

    def put(self, key: bytes, value: Value, size: int) -> None:
        """Store a value of `size` bytes, and evict others if the limits are exceeded."""
        self.size += size - self._known.pop(key, (None, 0))[1]
        self._known[key] = value, size
        while self.size > self._most_bytes or (self._most is not None and len(self._known) > self._most):
            self.size -= self._known.popitem(last=False)[1][1]
