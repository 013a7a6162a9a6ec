"""Aligns the spans of an answer with the text: pieces, occurrences and alignment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from enum import StrEnum
from functools import lru_cache

_SHORT, _FEW = 2000, 64  # alignments are cached up to this many characters of text and spans of an answer
_PIECE = re.compile(r"\w+|[^\w\s]")


class Alignment(StrEnum):
    """How a span was found in its text.

    `EXACT`: whole pieces, next free occurrence left to right. `REUSED`: the words occur, but every occurrence was
    taken, so this entity shares the last one. `MISSING`: the span is not in the text; then start = end = -1.
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
    offsets, at = [], text.find(span)
    while at >= 0:
        if _at_piece_boundaries(text, at, at + len(span)):
            offsets.append((at, at + len(span)))
        at = text.find(span, at + 1)
    return offsets


def _at_piece_boundaries(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] begins and ends with a piece; looks at the four characters around the two edges only."""
    first, last = text[start], text[end - 1]
    if first.isspace() or last.isspace():
        return False
    cut_before = start > 0 and _is_word_character(first) and _is_word_character(text[start - 1])
    return not cut_before and not (end < len(text) and _is_word_character(last) and _is_word_character(text[end]))


def _is_word_character(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def align(spans: Iterable[str], text: str) -> list[tuple[int, int, Alignment]]:
    """Resolve each span of an answer to an occurrence, left to right.

    A span means its first occurrence as whole pieces that no span before it touches, so that in `Sage Group ... Sage`
    the second one is found; else the first that no span before it stands at; else the last is shared (`REUSED`). A
    span that is not in the text gets (-1, -1, MISSING).

    Args:
        spans: The strings in the order of the answer.
        text: The text of the post.

    Returns:
        One (start, end, alignment) a span.

    Source: our own rule; the ACL 2023 data defines mentions by token offsets, an answer names strings.
    """
    known = tuple(spans)
    if len(text) <= _SHORT and len(known) <= _FEW:
        return list(_cached_places(known, text))
    return _places(known, text)


@lru_cache(maxsize=4096)  # sampled answers to a post name the same spans
def _cached_places(spans: tuple[str, ...], text: str) -> list[tuple[int, int, Alignment]]:
    return _places(spans, text)


def _places(spans: tuple[str, ...], text: str) -> list[tuple[int, int, Alignment]]:
    # Places only become taken, so each distinct span passes each of its occurrences once, however often it comes.
    covered, taken = bytearray(len(text)), set[tuple[int, int]]()
    searches: dict[str, _Search] = {}
    result = []
    for span in spans:
        search = searches.get(span) or searches.setdefault(span, _Search(occurrences(span, text)))
        if not search.found:
            result.append((-1, -1, Alignment.MISSING))
            continue
        free = search.free(covered, taken)
        place = free or search.found[-1]
        taken.add(place)
        covered[place[0] : place[1]] = b"\1" * (place[1] - place[0])
        result.append((*place, Alignment.EXACT if free else Alignment.REUSED))
    return result


class _Search:
    """The occurrences of a span, and how far they have been passed."""

    def __init__(self, found: list[tuple[int, int]]) -> None:
        self.found = found
        self._untouched = self._unused = 0

    def free(self, covered: bytearray, taken: Set[tuple[int, int]]) -> tuple[int, int] | None:
        """The first occurrence without a covered character, else the first that is not taken."""
        while self._untouched < len(self.found):
            start, end = self.found[self._untouched]
            if covered.find(1, start, end) < 0:
                return start, end
            self._untouched += 1
        while self._unused < len(self.found):
            if self.found[self._unused] not in taken:
                return self.found[self._unused]
            self._unused += 1
        return None
