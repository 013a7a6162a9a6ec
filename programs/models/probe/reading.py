"""Reads boxes from free text: the notations in which vision-language models write four coordinates."""

from __future__ import annotations

import re

Numbers = tuple[float, float, float, float]

_THINKING = re.compile(
    r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A.*?</think(?:ing)?>"
    r"|◁think▷.*?(?:◁/think▷|\Z)|\A.*?◁/think▷|<\|channel>.*?(?:<channel\|>|\Z)|\A.*?<channel\|>"
    r"|\[THINK\].*?(?:\[/THINK\]|\Z)|\A.*?\[/THINK\]",
    re.DOTALL,
)
_NUMBER = r"-?(?:\d+(?:\.\d+)?|\.\d+)"
_GAP = r"(?:[\s,;:\uff0c\uff1b\uff1a\u3001()\[\]{}<>|%*]|px\b|\band\b)+"  # with full-width comma, semicolon and colon
_CORNERS = r"\s*[)\]](?:[\s,;:.–—→>*-]|\b(?:to|and|at|is|the|top|upper|bottom|lower|left|right|corner)\b)*[(\[]\s*"
# What is written between two corners: `(1, 2) to (3, 4)`, `(1, 2), bottom-right corner at (3, 4)`.
_FOUR_NUMBERS = rf"({_NUMBER}){_GAP}({_NUMBER})(?:{_GAP}|{_CORNERS})({_NUMBER}){_GAP}({_NUMBER})(?![\w.]*\d)"
_IN_BRACKETS = re.compile(rf"[\[({{>]\s*{_FOUR_NUMBERS}")
_BARE = re.compile(rf"(?<![\w.]){_FOUR_NUMBERS}")
_NAMED = re.compile(
    rf"""["']?\b(?:(x|y)(?:[ _-]?(min|max|1|2|0))?|(left|top|right|bottom))["']?\s*[:=]\s*({_NUMBER})""", re.IGNORECASE
)
_LOCATION = re.compile(r"<loc(_?)(\d{1,4})>")
_LAST_STEP = {"": 1023, "_": 999}  # `<loc0123>` of PaliGemma, `<loc_123>` of Florence-2


def read_free(text: str) -> Numbers | None:
    """Read the first box of an answer in free text; None: no box. Thoughts between their marks are ignored.

    Understands four numbers in any brackets (`[1, 2, 3, 4]`, `(1,2),(3,4)`, `{"box_2d": [...]}`), two corners in words
    (`(1, 2) to (3, 4)`, `top-left (1, 2), bottom-right (3, 4)`) and coordinates with names (`x1: 1, y1: 2, ...`,
    `left=1 ...`, `x=1, y=2 and x=3, y=4`). Numbers are in the order in which they were written; those with names are
    x1, y1, x2, y2.

    Args:
        text: The output of the model.
    """
    answer = _THINKING.sub(" ", text)
    # Brackets first: in `iPhone 6: [1, 2, 3, 4]`, the box does not begin with 6.
    found = _IN_BRACKETS.search(answer) or _BARE.search(answer)
    if found is not None:
        a, b, c, d = map(float, found.groups())
        return a, b, c, d
    return _by_name(answer)


def read_location_tokens(text: str) -> Numbers | None:
    """Read the first four location tokens of an answer; None: it has fewer.

    They are `<loc0123>` with 1024 steps (PaliGemma), or `<loc_123>` with 1000 (Florence-2). A probe recognises them,
    although programs cannot use them.

    Returns:
        The numbers as written, converted to 0..1000.
    """
    found = _LOCATION.findall(text)[:4]
    if len(found) < 4:
        return None
    a, b, c, d = (1000 * int(step) / _LAST_STEP[mark] for mark, step in found)
    return a, b, c, d


_SIDES = {"left": 0, "top": 1, "right": 2, "bottom": 3}


def _by_name(answer: str) -> Numbers | None:
    """The first value of each coordinate that has a name, as xyxy; None if one is missing."""
    values: dict[int, float] = {}
    found = _NAMED.findall(answer)
    corners = {
        name: [float(number) for axis, end, _, number in found if axis.lower() == name and not end] for name in "xy"
    }
    if all(len(numbers) == 2 for numbers in corners.values()):  # `x=1, y=2 and x=3, y=4`
        (x1, x2), (y1, y2) = corners.values()
        return x1, y1, x2, y2
    found = [one for one in found if one[1] or one[2]]
    # Corners are numbered 0 and 1, or 1 and 2.
    last = ("max", "1") if any(end == "0" for _, end, _, _ in found) else ("max", "2")
    for axis, end, side, number in found:
        place = _SIDES[side.lower()] if side else "xy".index(axis.lower()) + 2 * (end.lower() in last)
        values.setdefault(place, float(number))
    return (values[0], values[1], values[2], values[3]) if len(values) == 4 else None
