"""What an answer says about each gold mention: parsed strictly, matched one to one, once for all five rewards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from gmner.data.post import Post
from gmner.signatures.boxes import Box, BoxFormat, Size
from gmner.signatures.errors import AnswerError, DataError, InputError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity
from gmner.signatures.wire import Frame, parse_answer

Row: TypeAlias = tuple[str | None, str, str, Size | None, Size | None]
"""What is judged: an answer (None: not valid), the text of its post, the gold as JSON, size and resized size."""

DEFAULT_FORMAT = BoxFormat()
"""Coordinates 0..1000 of the picture's width and height."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What an answer says about one gold mention.

    Attributes:
        shown: Whether the gold says that the picture shows it.
        found: Whether the answer names it: the same span at the same occurrence.
        type_right: Whether it was found and has the gold type.
        said_shown: Whether it was found and was given a box.
        iou: Best IoU of the given box with any gold box; 0 without a box on either side.
    """

    shown: bool
    found: bool = False
    type_right: bool = False
    said_shown: bool = False
    iou: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A valid answer held against the gold: all that the five rewards look at.

    Attributes:
        n_pred: Number of predicted entities.
        findings: One a gold mention, in gold order.
    """

    n_pred: int
    findings: tuple[Finding, ...]

    @property
    def most(self) -> int:
        """The larger of the numbers of predicted and gold mentions."""
        return max(self.n_pred, len(self.findings))


def reward_columns(post: Post, frame: Frame) -> dict[str, Any]:
    """The columns of one row that the rewards read: `post_text`, `gold`, `size` and `resized`, plain JSON values.

    Args:
        post: An annotated post.
        frame: The frame of its picture.

    Raises:
        InputError: The post is not annotated, or the frame lacks a size that its box format needs.
        DataError: A gold mention that does not stand in the text, or two at one place.
    """
    if post.entities is None:
        raise InputError("A post that is not annotated cannot be rewarded", received=post.id)
    _check_frame(frame)
    gold = [
        {"span": e.span, "start": e.start, "end": e.end, "type": e.type, "boxes": [b.as_tuple() for b in e.boxes]}
        for e in post.entities
    ]
    column = json.dumps(gold)
    gold_entities(column, post.text)
    return {
        "post_text": post.text,
        "gold": column,
        "size": None if frame.size is None else list(frame.size),
        "resized": None if frame.resized is None else list(frame.resized),
    }


def completion_text(completion: Any) -> str:
    """The text of a completion: a string, or the content (string or parts) of the last message of a list.

    Raises:
        InputError: Neither of the two.
    """
    if isinstance(completion, str):
        return completion
    try:
        content = completion[-1]["content"]
        return content if isinstance(content, str) else "".join(p["text"] for p in content if p["type"] == "text")
    except (LookupError, TypeError) as error:
        accepted = "a string, or messages with role and content"
        raise InputError("A completion is of an unknown form", received=completion, accepted=accepted) from error


@lru_cache(maxsize=8192)
def judge(
    completion: str,
    post_text: str,
    gold: str,
    size: Size | None,
    resized: Size | None,
    labels: LabelSet = COARSE,
    box_format: BoxFormat = DEFAULT_FORMAT,
) -> Judgement | None:
    """Parse a completion strictly and hold it against the gold.

    Mentions are paired one to one on (span, occurrence); where an answer names one several times, the box with the
    highest IoU is paired, any box before none, then the first. A mention hedged with and without a box is thus a claim
    that it is shown.

    Returns:
        None when the completion is not a valid answer.

    Raises:
        DataError: The gold does not fit its text.
        InputError: The frame lacks a size that its box format needs.
    """
    return judge_rows([(completion, post_text, gold, size, resized)], labels, box_format)[0]


def judge_rows(rows: Iterable[Row], labels: LabelSet, box_format: BoxFormat) -> list[Judgement | None]:
    """The judgement of each row, see `judge`; equal rows are parsed once.

    Args:
        rows: Answer (None: not valid), text of the post, gold, size and resized size of its image.
        labels: The entity types.
        box_format: The coordinate convention of boxes.
    """
    frames: dict[tuple[Size | None, Size | None], Frame] = {}
    found: dict[Row, Judgement | None] = {}
    judged = []
    for row in rows:
        if row not in found:
            answer, text, gold, size, resized = row
            frame = frames.get((size, resized))
            if frame is None:
                frame = frames[size, resized] = Frame(box_format, size, resized)
                _check_frame(frame)
            found[row] = None if answer is None else _judgement(answer, text, gold_entities(gold, text), labels, frame)
        judged.append(found[row])
    return judged


def _judgement(
    answer: str, text: str, gold: tuple[GoldEntity, ...], labels: LabelSet, frame: Frame
) -> Judgement | None:
    try:
        predicted = parse_answer(answer, text, labels, frame).entities
    except AnswerError:
        return None
    named: dict[tuple[int, int], list[GroundedEntity]] = {}
    for entity in predicted:
        named.setdefault((entity.start, entity.end), []).append(entity)
    return Judgement(len(predicted), tuple([_find(e, named.get((e.start, e.end))) for e in gold]))


def _find(gold: GoldEntity, named: list[GroundedEntity] | None) -> Finding:
    """The finding of one gold mention, from the predictions that stand where it stands."""
    if not named:
        return _finding(bool(gold.boxes), False, False, False, 0.0)
    best = named[0] if len(named) == 1 else max(named, key=lambda e: -1.0 if e.box is None else _best_iou(gold, e.box))
    overlap = 0.0 if best.box is None else _best_iou(gold, best.box)
    return _finding(bool(gold.boxes), True, best.type == gold.type, best.box is not None, overlap)


_finding = lru_cache(maxsize=1024)(Finding)  # most of them are alike, and a frozen dataclass takes time to make


def _best_iou(gold: GoldEntity, box: Box) -> float:
    return max([box.iou(other) for other in gold.boxes], default=0.0)


def _check_frame(frame: Frame) -> None:
    """A missing size is an error of the set-up: inside the parser it would look like a bad box and earn a 0."""
    if frame.size is not None:
        frame.box_format.extent(frame.size, frame.resized)


def as_size(value: Sequence[int] | None) -> Size | None:
    """A size as a dataset hands it over, a list, as a value that can be a key."""
    return None if value is None else (value[0], value[1])


@lru_cache(maxsize=1024)
def gold_entities(gold: str, post_text: str) -> tuple[GoldEntity, ...]:
    """The gold mentions of a row; refuses gold that does not stand in the text or names one place twice."""
    entities = tuple(
        GoldEntity(r["span"], r["start"], r["end"], r["type"], tuple(Box(*box) for box in r["boxes"]))
        for r in json.loads(gold)
    )
    for entity in entities:
        if not entity.span or post_text[entity.start : entity.end] != entity.span:
            raise DataError("A gold mention does not stand where it says in the text", received=entity)
    if len({entity.key for entity in entities}) != len(entities):
        raise DataError("Two gold mentions stand at one place of the text", received=gold)
    return entities
