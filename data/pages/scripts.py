"""Texts of any script inside other texts of a page: bidirectional isolation, and names that are shortened by width."""

from __future__ import annotations

import unicodedata

import regex

_RIGHT_TO_LEFT = regex.compile(r"[\p{Bidi_Class=R}\p{Bidi_Class=AL}\p{Bidi_Control}]")
_ISOLATE, _POP = "\u2068", "\u2069"
_NAME_WIDTH = 24


def isolated(text: str) -> str:
    """Isolate a text from the direction of the words around it, for places that allow no `<bdi>` (tooltips, options).

    A text with right-to-left characters or with direction marks is set between FIRST STRONG ISOLATE and POP DIRECTIONAL
    ISOLATE; other texts are returned unchanged.
    """
    return f"{_ISOLATE}{text}{_POP}" if _RIGHT_TO_LEFT.search(text) else text


def short_name(text: str, width: int = _NAME_WIDTH) -> str:
    """Shorten a text to `width` columns with an ellipsis. Wide characters (Han, kana, Hangul, emoji) take two columns.

    Grapheme clusters are not cut.
    """
    used, shown = 0, list[str]()
    for cluster in regex.findall(r"\X", text):
        used += 2 if unicodedata.east_asian_width(cluster[0]) in "WF" else 1
        shown.append(cluster)
        if used > width:
            while used >= width:
                used -= 2 if unicodedata.east_asian_width(shown.pop()[0]) in "WF" else 1
            return "".join(shown) + "…"
    return text
