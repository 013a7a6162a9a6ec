"""How sure a model was of each part of its answer: the probability of the tokens that say it.

Under a grammar the probabilities are those among the tokens that the grammar allows, so that what it forces is certain.
Which tokens count is our own choice: those of an entity's words, type and verdict (`visible`), up to its box. The
digits of a box are left out: a box that is one step off is as good, and no more likely.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from gmner.signatures.errors import AnswerError

_DECODER = json.JSONDecoder()
_BLANK = " \t\r\n"
_ROUNDING = 0.1  # half precision puts the log probability of a certain token this much above 0

Token = tuple[str, float]
"""A token's text and the logarithm of its probability."""


def confidences(answer: str, tokens: Sequence[Token]) -> list[float | None]:
    """The probability, in 0..1, of each entity or mention of an answer, or of its one verdict.

    Args:
        answer: The answer's text: a JSON object of one of our forms.
        tokens: Its tokens in order; together they are the text, but for blanks between JSON's own signs, which a client
            may write anew, and what follows the object: vLLM counts the token that ends an answer among its tokens.

    Returns:
        One value an entity of `entities`, or a mention of `mentions`; one value for `visible`, and for a grounding
        that finds no box; none for other answers. None stands for a part whose tokens have log probabilities that are
        none: not a number, or above 0 by more than rounding explains.

    Raises:
        AnswerError: The tokens are not those of the answer, or it is no JSON object.
    """
    written = "".join(text for text, _ in tokens)
    try:
        if written != answer and _DECODER.raw_decode(written, _skip(written, 0))[0] != json.loads(answer):
            raise AnswerError("The tokens are not those of the answer", received=[text for text, _ in tokens])
        members = _members(written, _skip(written, 0))
        if "visible" in members:
            return [_probability(tokens, *members["visible"][1:])]
        if "box" in members and written[members["box"][1]] == "n":
            return [_probability(tokens, *members["box"][1:])]
        found = members.get("entities") or members.get("mentions")
        return (
            []
            if found is None
            else [_probability(tokens, *_said(written, *item)) for item in _items(written, found[1])]
        )
    except (ValueError, IndexError) as error:
        raise AnswerError("The answer is not JSON", received=answer, remedy=str(error)) from error


def _said(answer: str, begin: int, end: int) -> tuple[int, int]:
    """Where an entity says everything but its box."""
    box = _members(answer, begin).get("box")
    return begin, end if box is None else box[0]


def _probability(tokens: Sequence[Token], begin: int, end: int) -> float | None:
    """The probability of the tokens that stand, wholly or in part, between two places of the text."""
    total, at = 0.0, 0
    for text, logprob in tokens:
        if at < end and at + len(text) > begin:
            if not logprob <= _ROUNDING:  # NaN is not either
                return None
            total += min(logprob, 0.0)
        at += len(text)
    return math.exp(total)


def _members(text: str, at: int) -> dict[str, tuple[int, int, int]]:
    """The members of the object that begins at `at`: name -> where its name begins, its value begins and ends."""
    found: dict[str, tuple[int, int, int]] = {}
    for begin in _parts(text, at, "{}"):
        name, end = _DECODER.raw_decode(text, begin)
        value = _skip(text, text.index(":", end) + 1)
        found[name] = (begin, value, _DECODER.raw_decode(text, value)[1])
    return found


def _items(text: str, at: int) -> list[tuple[int, int]]:
    """Where the items of the array that begins at `at` begin and end."""
    return [(begin, _DECODER.raw_decode(text, begin)[1]) for begin in _parts(text, at, "[]")]


def _parts(text: str, at: int, brackets: str) -> Iterator[int]:
    """Where the members of an object, or the items of an array, begin."""
    if text[at] != brackets[0]:
        raise ValueError(f"no {brackets[0]} at {at}")
    at = _skip(text, at + 1)
    while text[at] != brackets[1]:
        yield at
        _, end = _DECODER.raw_decode(text, at)
        if brackets == "{}":
            _, end = _DECODER.raw_decode(text, _skip(text, text.index(":", end) + 1))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    """The next place that is not blank."""
    while text[at] in _BLANK:
        at += 1
    return at
