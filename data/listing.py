"""`Listing`: a list with attributes of its own, and helpers for its text representation."""

from __future__ import annotations

from copy import copy
from typing import Protocol, Self, SupportsIndex, TypeVar, overload


class Identified(Protocol):
    """What has an id: a post, a prediction."""

    @property
    def id(self) -> str:
        """Unique in a list of them."""


_T = TypeVar("_T", bound=Identified)


class Listing(list[_T]):
    """A list with attributes of its own, which its slices have, too."""

    @overload
    def __getitem__(self, place: SupportsIndex) -> _T: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: SupportsIndex | slice) -> _T | Self:
        """An item, or a part of the list."""
        if not isinstance(place, slice):
            return super().__getitem__(place)
        part = copy(self)
        part[:] = super().__getitem__(place)
        return part

    def named(self, note: str = "") -> str:
        """How many items there are, and the ids of the first: `Posts(3: 'a', 'b', 'c')`, with a note behind them."""
        ids = ", ".join(repr(item.id) for item in self[:3])
        body = f"{len(self):,}{': ' if self else ''}{ids}{', …' if len(self) > 3 else ''}{'; ' if note else ''}{note}"
        return f"{type(self).__name__}({body})"


def shortened(text: str, length: int = 48) -> str:
    """The beginning of a text, at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def counted(count: int, one: str, many: str) -> str:
    """A count and what is counted: `no entities`, `1 entity`, `1,500 entities`."""
    return f"{f'{count:,}' if count else 'no'} {one if count == 1 else many}"
