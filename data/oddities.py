"""`Oddity`, a tolerated flaw of a data file; `OddityLog`; and `Posts`, a list of posts with their oddities."""

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
"""How a reader treats a missing image: `warn` reports an oddity, `error` raises a DataError."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """A flaw in a data file that a reader tolerates.

    Attributes:
        kind: Its kind in snake case, such as `stray_inside_tag` or `missing_image`.
        where: The file, followed by `:line` or the name of the object if there is one.
        message: What is wrong, and what the reader did about it.
        post: The id of the post that it concerns; None: the file or several posts.
    """

    kind: str
    where: str
    message: str
    post: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class Posts(Listing[Post]):
    """A list of posts with the oddities of their files. Notebooks display the first posts with their images.

    Attributes:
        oddities: The oddities in the order in which they were read.
    """

    def __init__(self, posts: Iterable[Post] = (), oddities: Iterable[Oddity] = ()) -> None:
        super().__init__(posts)
        self.oddities = tuple(oddities)

    def __repr__(self) -> str:
        """Number of posts, first ids and number of oddities."""
        oddities = counted(len(self.oddities), "oddity", "oddities")
        return self.named(f"{oddities}, see report()" if self.oddities else "")

    def _repr_html_(self) -> str | None:
        return FORMATTERS.html(self)

    def only(self, posts: Iterable[Post]) -> Posts:
        """Some of the posts, with the oddities that concern them or a whole file."""
        chosen = list(posts)
        ids = {None, *(post.id for post in chosen)}
        return Posts(chosen, (oddity for oddity in self.oddities if oddity.post in ids))

    def report(self, each: int = 20) -> str:
        """Describe the oddities: one line with the count of each kind, then one line per oddity.

        Args:
            each: Maximum number of lines per kind; the number of further oddities is added.
        """
        if not self.oddities:
            return f"{len(self)} posts, no oddities"
        counts = Counter(oddity.kind for oddity in self.oddities)
        summary = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        lines = [f"{len(self)} posts, oddities: {summary}"]
        for kind, count in counts.items():
            lines += [str(oddity) for oddity in self.oddities if oddity.kind == kind][:each]
            if count > each:
                lines.append(f"... and {count - each} more of {kind}")
        return "\n".join(lines)


class OddityLog:
    """Collects and logs the oddities of a reader.

    Attributes:
        oddities: The oddities so far.
    """

    def __init__(self) -> None:
        self.oddities: list[Oddity] = []
        self._quiet: set[str] = set()

    def add(
        self,
        kind: str,
        where: str,
        message: str,
        *,
        post: str | None = None,
        quiet: bool = False,
        level: int = logging.WARNING,
    ) -> None:
        """Add an oddity and log it.

        Args:
            kind: See `Oddity`.
            where: See `Oddity`.
            message: See `Oddity`.
            post: See `Oddity`.
            quiet: Log all oddities of this kind as one line with their count, when `posts` is called.
            level: The level of the log line.
        """
        self.oddities.append(Oddity(kind, where, message, post))
        if quiet:
            self._quiet.add(kind)
        else:
            _LOG.log(level, "%s", self.oddities[-1])

    def posts(self, posts: Iterable[Post]) -> Posts:
        """Return the posts of the reader with all oddities, and log the counts of the quiet kinds."""
        for kind in sorted(self._quiet):
            oddities = [oddity for oddity in self.oddities if oddity.kind == kind]
            _LOG.warning("%s: %s; first: %s", kind, counted(len(oddities), "time", "times"), oddities[0])
        return Posts(posts, self.oddities)
