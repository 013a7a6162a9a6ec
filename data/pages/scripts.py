"""Texts of any script in a page: bidirectional isolation, names shortened by width, no lone surrogates."""

from __future__ import annotations

import unicodedata

import regex

_RIGHT_TO_LEFT = regex.compile(r"[\p{Bidi_Class=R}\p{Bidi_Class=AL}\p{Bidi_Control}]")
_SURROGATE = regex.compile("[\ud800-\udfff]")
_ISOLATE, _POP = "\u2068", "\u2069"
_NAME_WIDTH = 24


def isolated(text: str) -> str:
    """Isolate a text from the direction of the words around it, for places that allow no `<bdi>` (tooltips, options).

    A text with right-to-left characters or with direction marks is set between FIRST STRONG ISOLATE and POP DIRECTIONAL
    ISOLATE; other texts are returned unchanged.
    """
    return f"{_ISOLATE}{text}{_POP}" if _RIGHT_TO_LEFT.search(text) else text


def printable(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which cannot be encoded as UTF-8; offsets stay the same."""
    return _SURROGATE.sub("\ufffd", text)


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
