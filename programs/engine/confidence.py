"""Confidence of entities: the joint probability of the tokens that state their span, type and visibility.

With a grammar, probabilities are normalised over the tokens that the grammar allows, so a forced token has
probability 1. The choice of tokens is our own: everything of an entity up to its box. The box is left out because its
digits are not a yes-or-no decision: a box that is one step off is as good, and shares the probability with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from gmner.programs.models.families import split_thinking
from gmner.signatures.errors import AnswerError

_DECODER = json.JSONDecoder()
_BLANK = " \t\r\n"
_ROUNDING = 0.1  # in half precision, the log probability of a certain token can exceed 0 by this much

Token = tuple[str, float]
"""A token's text and the logarithm of its probability."""


def confidences(answer: str, tokens: Sequence[Token]) -> list[float | None]:
    """Compute the confidence, in 0..1, of each entity or mention of an answer, or of its single decision.

    Args:
        answer: The answer's text: a JSON object of one of our forms.
        tokens: The tokens of the answer, in order. Joined, they must be the same JSON as `answer`: white space may
            differ (a client may reformat it), and text may follow the object (vLLM includes the end token).

    Returns:
        One value for each item of `entities` or `mentions`; one value for `visible`, and for a null `box`; an empty
        list for other answers. A value is None if a log probability is not a number, or exceeds 0 by more than
        rounding explains.

    Raises:
        AnswerError: The tokens do not match the answer, or the answer is not a JSON object.
    """
    token_text = "".join(text for text, _ in tokens)
    try:
        if token_text != answer and _DECODER.raw_decode(token_text, _skip_blanks(token_text, 0))[0] != json.loads(
            answer
        ):
            raise AnswerError("The tokens do not match the answer", received=[text for text, _ in tokens])
        members = _members(token_text, _skip_blanks(token_text, 0))
        if "visible" in members:
            return [_probability(tokens, *members["visible"][1:])]
        if "box" in members and token_text[members["box"][1]] == "n":
            return [_probability(tokens, *members["box"][1:])]
        listed = members.get("entities") or members.get("mentions")
        return (
            []
            if listed is None
            else [
                _probability(tokens, *_without_box(token_text, *item)) for item in _item_bounds(token_text, listed[1])
            ]
        )
    except (ValueError, IndexError) as error:
        raise AnswerError("The answer is not JSON", received=answer, remedy=str(error)) from error


def answer_tokens(answer: str, tokens: Sequence[Token]) -> list[Token]:
    """The tokens of an answer without those of the thinking before it, which vLLM returns as well.

    Args:
        answer: The answer's text, without its thinking.
        tokens: All tokens, in order. One that also contains the end of the thinking keeps only the answer's part.
    """
    text = "".join(token for token, _ in tokens)
    begin = text.rfind(answer.strip())
    if begin < 0:
        begin = len(text) - len(split_thinking(text)[1])
    if not text[:begin].strip():
        return list(tokens)
    kept, at = list[Token](), 0
    for token, logprob in tokens:
        if at + len(token) > begin:
            kept.append((token[max(0, begin - at) :], logprob))
        at += len(token)
    return kept


def _without_box(answer: str, begin: int, end: int) -> tuple[int, int]:
    """Begin and end of an entity's text without its box."""
    box = _members(answer, begin).get("box")
    return begin, end if box is None else box[0]


def _probability(tokens: Sequence[Token], begin: int, end: int) -> float | None:
    """Joint probability of the tokens that overlap text[begin:end]."""
    total, at = 0.0, 0
    for text, logprob in tokens:
        if at < end and at + len(text) > begin:
            if not logprob <= _ROUNDING:  # also true for NaN, unlike `logprob > _ROUNDING`
                return None
            total += min(logprob, 0.0)
        at += len(text)
    return math.exp(total)


def _members(text: str, at: int) -> dict[str, tuple[int, int, int]]:
    """Members of the object at `at`: name -> (begin of the name, begin of the value, end of the value)."""
    members: dict[str, tuple[int, int, int]] = {}
    for begin in _part_starts(text, at, "{}"):
        name, end = _DECODER.raw_decode(text, begin)
        value = _skip_blanks(text, text.index(":", end) + 1)
        members[name] = (begin, value, _DECODER.raw_decode(text, value)[1])
    return members


def _item_bounds(text: str, at: int) -> list[tuple[int, int]]:
    """(begin, end) of each item of the array at `at`."""
    return [(begin, _DECODER.raw_decode(text, begin)[1]) for begin in _part_starts(text, at, "[]")]


def _part_starts(text: str, at: int, brackets: str) -> Iterator[int]:
    """Begin of each member of an object, or of each item of an array."""
    if text[at] != brackets[0]:
        raise ValueError(f"no {brackets[0]} at {at}")
    at = _skip_blanks(text, at + 1)
    while text[at] != brackets[1]:
        yield at
        _, end = _DECODER.raw_decode(text, at)
        if brackets == "{}":
            _, end = _DECODER.raw_decode(text, _skip_blanks(text, text.index(":", end) + 1))
        at = _skip_blanks(text, end)
        if text[at] == ",":
            at = _skip_blanks(text, at + 1)


def _skip_blanks(text: str, at: int) -> int:
    """The next offset that is not white space."""
    while text[at] in _BLANK:
        at += 1
    return at
