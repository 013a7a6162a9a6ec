"""Reads boxes from free text: the notations in which vision-language models write four coordinates."""

from __future__ import annotations

import re
from dataclasses import dataclass

Numbers = tuple[float, float, float, float]

_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A.*?</think(?:ing)?>", re.DOTALL)
_NUMBER = r"-?\d+(?:\.\d+)?"
_GAP = r"[\s,;:()\[\]{}<>|%*]+"
_FOUR = re.compile(rf"(?<![\w.])({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER})(?![\w.]*\d)")
_NAMED = re.compile(
    rf"""["']?\b(?:(x|y)[ _-]?(min|max|1|2|0)|(left|top|right|bottom))["']?\s*[:=]\s*({_NUMBER})""", re.IGNORECASE
)
_ABSENT = re.compile(
    r"\b(?:not|no|none|nothing|null|absent|cannot|can't|doesn't|does not|isn't|isn’t|doesn’t|without|unable)\b",
    re.IGNORECASE,
)
_LOCATION = re.compile(r"<loc_?(\d{1,4})>")


@dataclass(frozen=True, slots=True)
class FreeAnswer:
    """An answer in free text.

    Attributes:
        numbers: The four numbers of the first box, in the order in which they were written; None: no box.
        absent: Whether the answer says that the image does not show it.
    """

    numbers: Numbers | None
    absent: bool = False


def read_free(text: str) -> FreeAnswer:
    """Read the first box of an answer in free text. What a model writes between `<think>` marks is ignored.

    Understands four numbers in any brackets (`[1, 2, 3, 4]`, `(1,2),(3,4)`, `{"box_2d": [...]}`) and coordinates with
    names (`x1: 1, y1: 2, ...`, `left=1 ...`).

    Args:
        text: The output of the model.
    """
    answer = _THINKING.sub(" ", text)
    found = _FOUR.search(answer)
    if found is not None:
        a, b, c, d = map(float, found.groups())
        return FreeAnswer((a, b, c, d))
    named = _by_name(answer)
    return FreeAnswer(named, absent=named is None and bool(_ABSENT.search(answer)))


def writes_location_tokens(text: str) -> bool:
    """Whether an answer has location tokens (`<loc0123>`), which this library does not support."""
    return len(_LOCATION.findall(text)) >= 4


_PLACES = {"x": {"min": 0, "1": 0, "0": 0, "max": 2, "2": 2}, "y": {"min": 1, "1": 1, "0": 1, "max": 3, "2": 3}}
_SIDES = {"left": 0, "top": 1, "right": 2, "bottom": 3}


def _by_name(answer: str) -> Numbers | None:
    """The first value of each coordinate that has a name, as xyxy; None if one is missing."""
    values: dict[int, float] = {}
    for axis, end, side, number in _NAMED.findall(answer):
        place = _SIDES[side.lower()] if side else _PLACES[axis.lower()][end.lower()]
        values.setdefault(place, float(number))
    return (values[0], values[1], values[2], values[3]) if len(values) == 4 else None
