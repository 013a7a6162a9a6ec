"""What a reader found odd: `Oddity`, and `Posts`, the list that carries the oddities with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gmner.data.post import Post


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something a data file should not have and a reader can live with.

    Attributes:
        kind: What it is, in snake case, such as `stray_inside_tag` or `missing_image`.
        where: The file, with `:line` or the name of the object where there is one.
        message: The fact, and what was done about it.
    """

    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class Posts(list[Post]):
    """The posts that a reader read, as a list.

    Attributes:
        oddities: What was odd in the files, in the order of reading; empty: nothing was.
    """

    def __init__(self, posts: Iterable[Post] = (), oddities: Iterable[Oddity] = ()) -> None:
        super().__init__(posts)
        self.oddities = tuple(oddities)

    def report(self) -> str:
        """What was odd as a text: a line a kind with its count, then a line an oddity."""
        if not self.oddities:
            return f"{len(self)} posts, nothing odd"
        counts = Counter(oddity.kind for oddity in self.oddities)
        head = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        return "\n".join([f"{len(self)} posts, odd: {head}", *map(str, self.oddities)])
