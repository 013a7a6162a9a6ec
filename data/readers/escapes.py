"""Finds unescaped words (`AT & T`) in a text with HTML character references (`AT &amp T`)."""

from __future__ import annotations

import html
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from gmner.signatures.alignment import pieces

# What html.unescape replaces. References do not overlap.
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")


@dataclass(frozen=True, slots=True)
class _Reference:
    """Start and end of a character reference in the text, and of its replacement in the unescaped text."""

    start: int
    end: int
    plain_start: int
    plain_end: int


class EscapedText:
    """A text and its unescaped form, prepared for looking up many spans.

    A part of the text, once unescaped, is a part of the unescaped text, unless it begins or ends within a reference;
    those few characters are compared separately. A lookup costs one comparison for each piece that begins with the
    right character.

    Args:
        text: The text with its references.
    """

    def __init__(self, text: str) -> None:
        self._text, self._references = text, list[_Reference]()
        parts, at, size = [], 0, 0
        for match in _REFERENCE.finditer(text):
            replacement = html.unescape(match[0])
            begin = size + match.start() - at
            parts += [text[at : match.start()], replacement]
            at, size = match.end(), begin + len(replacement)
            self._references.append(_Reference(match.start(), match.end(), begin, size))
        self._plain = "".join([*parts, text[at:]])
        cuts = pieces(text)
        # End in the unescaped text -> (end, start of a cut reference, its characters), the longest first.
        self._ends: dict[int, list[tuple[int, int, str]]] = {}
        heads: dict[int, set[str]] = {}
        for _, end in reversed(cuts):
            cut = self._reference(end)
            begin, to, tail = end, self._offset(end, cut), ""
            if cut and end < cut.end:
                begin, to, tail = cut.start, cut.plain_start, html.unescape(text[cut.start : end])
            self._ends.setdefault(to + len(tail), []).append((end, begin, tail))
            heads.setdefault(to, set()).update(tail[:1])
        # First character -> (start, characters before the unescaped text, where the unescaped text continues).
        self._starts: dict[str, list[tuple[int, str, int]]] = {}
        for start, _ in cuts:
            cut = self._reference(start)
            rest, at = "", self._offset(start, cut)
            if cut and start < cut.end:
                rest, at = text[start : cut.end], cut.plain_end
            first = {rest[0]} if rest else {*self._plain[at : at + 1], *heads.get(at, ())}
            for character in first:
                self._starts.setdefault(character, []).append((start, rest, at))

    def _reference(self, place: int) -> _Reference | None:
        """The last reference that begins before a position in the text."""
        index = bisect_left(self._references, place, key=lambda reference: reference.start)
        return self._references[index - 1] if index else None

    @staticmethod
    def _offset(place: int, before: _Reference | None) -> int:
        """The position in the unescaped text of a position in the text that is not within a reference."""
        return place if before is None else place - before.end + before.plain_end

    def places(self, span: str) -> Iterator[tuple[int, int]]:
        """Offsets (start, end) of pieces of the text that unescape to `span`, from left to right, the longest first."""
        for start, head, at in self._starts.get(span[:1], ()):
            if not span.startswith(head):
                continue
            for end, begin, tail in self._ends.get(at + len(span) - len(head), ()):
                middle = span[len(head) : len(span) - len(tail)]
                if begin >= start + len(head) and span.endswith(tail) and self._plain.startswith(middle, at):
                    yield start, end
