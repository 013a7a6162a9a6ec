"""Aligns the spans of an answer with the text of the post."""

from __future__ import annotations

from collections.abc import Iterable, Set
from enum import StrEnum
from functools import lru_cache

from gmner.signatures.segmentation import segment

_SHORT, _FEW = 2000, 64  # alignments are cached up to this many characters of text and spans of an answer


class Alignment(StrEnum):
    """How a span is aligned with the text.

    `EXACT`: the span is aligned with the next free occurrence, from left to right. `REUSED`: all occurrences are taken,
    so the entity shares the last one. `MISSING`: the span is not in the text, and start = end = -1.
    """

    EXACT = "exact"
    REUSED = "reused"
    MISSING = "missing"


def pieces(text: str) -> list[tuple[int, int]]:
    """Character offsets (start, end) of the pieces of a text, see `segment` for the rules.

    A span consists of one or more adjacent pieces with the characters in between. `Durant` is therefore a span of
    `Durant,`, and every span of tokens in a tokenized data set is a span, unless a token ends inside a grapheme cluster
    or inside a word.
    """
    return [(piece.start, piece.end) for piece in segment(text)]


def occurrences(span: str, text: str) -> list[tuple[int, int]]:
    """Offsets (start, end) of the occurrences of `span` in `text` as whole pieces; case-sensitive, left to right."""
    start = text.find(span) if span else -1
    if start < 0:
        return []
    starts, ends = _bounds(text)
    offsets = []
    while start >= 0:
        if start in starts and start + len(span) in ends:
            offsets.append((start, start + len(span)))
        start = text.find(span, start + 1)
    return offsets


def _whole_words_first(places: list[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """The occurrences that no letter, digit or `_` touches, and then those inside of words, each from left to right."""
    return sorted(places, key=lambda place: _cuts_word(text, place[0]) or _cuts_word(text, place[1]))


def _cuts_word(text: str, offset: int) -> bool:
    return 0 < offset < len(text) and all(c.isalnum() or c == "_" for c in text[offset - 1 : offset + 1])


@lru_cache(maxsize=32)
def _bounds(text: str) -> tuple[frozenset[int], frozenset[int]]:
    """Offsets at which pieces begin, and at which they end."""
    parts = segment(text)
    return frozenset(piece.start for piece in parts), frozenset(piece.end for piece in parts)


def align(spans: Iterable[str], text: str) -> list[tuple[int, int, Alignment]]:
    """Resolve each span of an answer to an occurrence in the text, from left to right.

    Each span is aligned with its first occurrence that does not overlap an earlier span; in `Sage Group ... Sage`, the
    spans `Sage Group` and `Sage` are therefore aligned separately. Occurrences inside of a word come last: in
    `Obamas and Obama`, the span `Obama` is the last word. If all occurrences overlap, the span is aligned with the
    first one that does not coincide with an earlier span, and otherwise with the last one (`REUSED`). A span that is
    not in the text gets (-1, -1, MISSING).

    Args:
        spans: The strings in the order of the answer.
        text: The text of the post.

    Returns:
        One (start, end, alignment) per span.

    Source: our own rule; the ACL 2023 data defines mentions by token offsets, but an answer contains strings.
    """
    strings = tuple(spans)
    if len(text) <= _SHORT and len(strings) <= _FEW:
        return list(_cached_places(strings, text))
    return _places(strings, text)


@lru_cache(maxsize=4096)  # sampled answers to a post often have the same spans
def _cached_places(spans: tuple[str, ...], text: str) -> list[tuple[int, int, Alignment]]:
    return _places(spans, text)


def _places(spans: tuple[str, ...], text: str) -> list[tuple[int, int, Alignment]]:
    # Places are never freed, so each distinct span passes each of its occurrences at most once, even if it is repeated.
    covered, taken = bytearray(len(text)), set[tuple[int, int]]()
    searches: dict[str, _Search] = {}
    result = []
    for span in spans:
        search = searches.get(span)
        if search is None:
            search = searches[span] = _Search(_whole_words_first(occurrences(span, text), text))
        if not search.occurrences:
            result.append((-1, -1, Alignment.MISSING))
            continue
        free = search.free(covered, taken)
        place = free or search.occurrences[-1]
        taken.add(place)
        covered[place[0] : place[1]] = b"\1" * (place[1] - place[0])
        result.append((*place, Alignment.EXACT if free else Alignment.REUSED))
    return result


class _Search:
    """The occurrences of a span, and the positions up to which they are known to be occupied."""

    def __init__(self, occurrences: list[tuple[int, int]]) -> None:
        self.occurrences = occurrences
        self._untouched = self._unused = 0

    def free(self, covered: bytearray, taken: Set[tuple[int, int]]) -> tuple[int, int] | None:
        """The first occurrence without covered characters, otherwise the first that is not taken, or None."""
        while self._untouched < len(self.occurrences):
            start, end = self.occurrences[self._untouched]
            if covered.find(1, start, end) < 0:
                return start, end
            self._untouched += 1
        while self._unused < len(self.occurrences):
            if self.occurrences[self._unused] not in taken:
                return self.occurrences[self._unused]
            self._unused += 1
        return None
