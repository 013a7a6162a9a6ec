"""Posts of the world that are drawn when they are first used, and once per process: an image takes a twentieth second.

All workers import all test files, also those whose tests other workers run. So no file draws posts when it is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from typing import Generic, TypeVar

from gmner.data.post import Post
from gmner.data.world.generate import World

T = TypeVar("T")


class Lazy(Sequence[T], Generic[T]):
    """A sequence that is made when it is first used. Slices are lists."""

    def __init__(self, make: Callable[[], Sequence[T]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> list[T]:
        return list(self._make())

    def __getitem__(self, place):
        return self._made[place]

    def __iter__(self) -> Iterator[T]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


@cache
def _drawn(split: str, index: int, seed: int) -> Post:
    return World(seed=seed).post(split, index)


def drawn(split: str, count: int, seed: int = 0) -> Lazy[Post]:
    """The posts of `World(seed).posts(split, count)`."""
    return Lazy(lambda: [_drawn(split, index, seed) for index in range(count)])


def short_posts(count: int, seed: int = 0) -> list[Post]:
    """Training posts with one or two mentions, so that a program with short answers can be trained on them."""
    return World(seed, mentions={1: 0.7, 2: 0.3}, named_twice=0.0).posts("train", count)
