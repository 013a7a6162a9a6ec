"""What a reader found odd: `Oddity`, `OddityLog` that gathers them, and `Posts`, the list that carries them with it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gmner.data.html_formatters import FORMATTERS
from gmner.data.listing import Listing, counted
from gmner.data.post import Post

_LOG = logging.getLogger(__name__)

MissingImages = Literal["warn", "error"]
"""What to do about a picture that is missing: list it as an oddity, or refuse the data."""


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


class Posts(Listing[Post]):
    """The posts that a reader read, as a list; in a notebook the first of them show themselves.

    Attributes:
        oddities: What was odd in the files, in the order of reading; empty: nothing was.
    """

    def __init__(self, posts: Iterable[Post] = (), oddities: Iterable[Oddity] = ()) -> None:
        super().__init__(posts)
        self.oddities = tuple(oddities)

    def __repr__(self) -> str:
        """How many there are, the ids of the first, and how much was odd."""
        odd = counted(len(self.oddities), "oddity", "oddities")
        return self.named(f"{odd}, see report()" if self.oddities else "")

    def _repr_html_(self) -> str | None:
        return FORMATTERS.html(self)

    def report(self, each: int = 20) -> str:
        """What was odd as a text: a line with the count of every kind, then a line an oddity.

        Args:
            each: How many oddities of a kind are written out; how many more there are is said.
        """
        if not self.oddities:
            return f"{len(self)} posts, nothing odd"
        counts = Counter(oddity.kind for oddity in self.oddities)
        lines = [f"{len(self)} posts, odd: {', '.join(f'{kind} {count}' for kind, count in sorted(counts.items()))}"]
        for kind, count in counts.items():
            found = [str(oddity) for oddity in self.oddities if oddity.kind == kind]
            lines += found[:each]
            if count > each:
                lines.append(f"... and {count - each} more of {kind}")
        return "\n".join(lines)


class OddityLog:
    """Gathers what is odd while a reader reads, and logs it.

    Attributes:
        oddities: What was found so far.
    """

    def __init__(self) -> None:
        self.oddities: list[Oddity] = []
        self._quiet: set[str] = set()

    def add(self, kind: str, where: str, message: str, *, quiet: bool = False, level: int = logging.WARNING) -> None:
        """Note an oddity and log it.

        Args:
            kind: See `Oddity`.
            where: See `Oddity`.
            message: See `Oddity`.
            quiet: Log all oddities of this kind as one line with their count, when the reader is done.
            level: The level of the log line.
        """
        self.oddities.append(Oddity(kind, where, message))
        if quiet:
            self._quiet.add(kind)
        else:
            _LOG.log(level, "%s", self.oddities[-1])

    def posts(self, posts: Iterable[Post]) -> Posts:
        """The posts of the reader, which is done, with all that was found."""
        for kind in sorted(self._quiet):
            found = [oddity for oddity in self.oddities if oddity.kind == kind]
            _LOG.warning("%s: %d times; the first: %s", kind, len(found), found[0])
        return Posts(posts, self.oddities)
