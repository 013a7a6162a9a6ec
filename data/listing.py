"""`Listing`: a list with further attributes, and helpers for its text representation."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Protocol, Self, SupportsIndex, TypeVar, overload


class Identified(Protocol):
    """An object with an id, such as a post or a prediction."""

    @property
    def id(self) -> str:
        """Identifier, unique in a list."""


_T = TypeVar("_T", bound=Identified)


class Listing(list[_T]):
    """A list whose slices keep its attributes."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice) -> _T | Self:
        """Return an item, or a slice with the same attributes."""
        if not isinstance(index, slice):
            return super().__getitem__(index)
        part = copy(self)
        part[:] = super().__getitem__(index)
        return part

    def named(self, note: str = "") -> str:
        """Format the number of items, the first ids and a note: `Posts(4: 'a', 'b', 'c', …; 1 oddity)`."""
        ids = ", ".join(repr(item.id) for item in self[:3])
        body = f"{len(self):,}{': ' if self else ''}{ids}{', …' if len(self) > 3 else ''}{'; ' if note else ''}{note}"
        return f"{type(self).__name__}({body})"


def shortened(text: str, length: int = 48) -> str:
    """Truncate a text to at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def counted(count: int, singular: str, plural: str) -> str:
    """Format a count with its noun: `no entities`, `1 entity`, `1,500 entities`."""
    return f"{f'{count:,}' if count else 'no'} {singular if count == 1 else plural}"


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A name for each path: its last part, or as many of its last parts as tell different paths apart."""
    names, parts = [path.name for path in paths], 1
    while len(set(names)) < len(set(paths)):
        parts += 1
        names = ["/".join(path.parts[-parts:]) for path in paths]
    return names
