"""Values that were used last, as many as a number of bytes allows."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """A cache bounded by the bytes and by the number of its values; the least recently used leave first.

    Args:
        most_bytes: Most bytes of all values; a larger value is not kept at all.
        most: Most values; None: no bound.

    Attributes:
        size: Bytes of all values.
    """

    def __init__(self, most_bytes: int, most: int | None = None) -> None:
        self._most_bytes, self._most, self.size = most_bytes, most, 0
        self._known: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        """The number of values."""
        return len(self._known)

    def get(self, key: bytes) -> Value | None:
        """The value of a key, which thereby is the one used last; None: it is not kept."""
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key][0]

    def put(self, key: bytes, value: Value, size: int) -> None:
        """Keep a value of `size` bytes, in the place of others where there is no room."""
        self.size += size - self._known.pop(key, (None, 0))[1]
        self._known[key] = value, size
        while self.size > self._most_bytes or (self._most is not None and len(self._known) > self._most):
            self.size -= self._known.popitem(last=False)[1][1]
