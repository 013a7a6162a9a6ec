"""Where an answer's span stands in the text: pieces, occurrences and alignment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

_PIECE = re.compile(r"\w+|[^\w\s]")


class Alignment(str, Enum):
    """How a span was found in its text.

    `EXACT`: whole pieces, next free occurrence left to right. `REUSED`: the words occur, but every occurrence was
    already taken, so this entity shares one. `MISSING`: the span is not in the text; such an entity has start = end = -1.
    """

    EXACT = "exact"
    REUSED = "reused"
    MISSING = "missing"


def pieces(text: str) -> list[tuple[int, int]]:
    """Character offsets (start, end) of the pieces of a text: runs of word characters and single other signs.

    A span is one or more neighbouring pieces with what stands between them, so `Durant` can be taken out of
    `Durant,` and every token span of a tokenised data set can be written.
    """
    return [match.span() for match in _PIECE.finditer(text)]


def occurrences(span: str, text: str) -> list[tuple[int, int]]:
    """Offsets (start, end) at which `span` stands in `text` as whole pieces; case-sensitive, left to right."""
    if not span:
        return []
    bounds = pieces(text)
    starts, ends = {start for start, _ in bounds}, {end for _, end in bounds}
    found, at = [], text.find(span)
    while at >= 0:
        if at in starts and at + len(span) in ends:
            found.append((at, at + len(span)))
        at = text.find(span, at + 1)
    return found


def align(spans: Iterable[str], text: str) -> list[tuple[int, int, Alignment]]:
    """Resolve each span of an answer to an occurrence, left to right.

    The n-th time a string is named it means its n-th occurrence as whole pieces; when there are fewer, the last one is
    shared (`REUSED`). A span that is not in the text gets (-1, -1, MISSING).

    Args:
        spans: The strings in the order of the answer.
        text: The text of the post.

    Returns:
        One (start, end, alignment) a span.

    Source: our own rule; the ACL 2023 data defines mentions by token offsets, an answer names strings.
    """
    seen: dict[str, int] = {}
    result = []
    for span in spans:
        found = occurrences(span, text)
        index = seen.get(span, 0)
        seen[span] = index + 1
        if not found:
            result.append((-1, -1, Alignment.MISSING))
        elif index < len(found):
            result.append((*found[index], Alignment.EXACT))
        else:
            result.append((*found[-1], Alignment.REUSED))
    return result
