"""Compares an answer with the gold mentions of its post: strict parsing and one-to-one matching, for all rewards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from gmner.data.post import Post
from gmner.signatures.boxes import Box, BoxFormat, Size
from gmner.signatures.errors import AnswerError, DataError, InputError
from gmner.signatures.forms import box_data
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity, Task
from gmner.signatures.wire import Frame, Sizes, parse_task_answer

Row: TypeAlias = tuple[str | None, str, str, Size | None, Size | None, str, Task]
"""Answer (None: invalid), text of its post, gold mentions as JSON, size, resized size, and the columns `more_sizes` and
`task`."""

MORE_SIZES = "more_sizes"
"""Name of a column that only rows of posts with several images need."""

TASK = "task"
"""Name of a column that only posts of a related task need, see `gmner.Post.task`; `gmner` for others."""

DEFAULT_FORMAT = BoxFormat()
"""Coordinates in 0..1000, relative to the image's width and height."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of comparing an answer with one gold mention, or with one target of an expression.

    If the regions of a post are not annotated, `shown` is False for every mention. An expression without a target has a
    single finding, which is not shown. A target is found if the answer has any box; its `iou` is that with its own box
    of the largest one-to-one matching.

    Attributes:
        shown: Whether the image shows the mention, according to the gold annotation.
        found: Whether the answer contains the mention: the same span at the same occurrence.
        type_right: Whether it was found with the gold type.
        said_shown: Whether it was found with a box.
        iou: Best IoU of the predicted box with any gold box; 0 if there is no predicted or no gold box.
    """

    shown: bool
    found: bool = False
    type_right: bool = False
    said_shown: bool = False
    iou: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A valid answer compared with the gold annotations; the five rewards are functions of it.

    Attributes:
        n_pred: Number of predicted entities; for an expression, of predicted boxes.
        findings: One per gold mention, in the order of the annotation; for an expression, one per target.
        task: What the post is annotated with.
    """

    n_pred: int
    findings: tuple[Finding, ...]
    task: Task = "gmner"

    @property
    def most(self) -> int:
        """The larger one of the numbers of predicted and gold mentions."""
        return max(self.n_pred, len(self.findings))


def reward_columns(post: Post, frame: Frame) -> dict[str, Any]:
    """The columns of one row that the rewards read: `post_text`, `gold`, `size` and `resized`, as JSON values.

    For a post with several images, `more_sizes` has the sizes of the further ones as JSON text. For a post of a related
    task, `task` has its name.

    Args:
        post: An annotated post.
        frame: The coordinate convention, with the sizes of the post's images.

    Raises:
        InputError: The post is not annotated, or a size that the coordinate convention needs is missing.
        DataError: A gold mention is not in the text at its offsets, or two have the same offsets.
    """
    if post.entities is None:
        raise InputError("Rewards need annotated posts", received=post.id, remedy="Remove posts without annotations")
    _check_frame(frame)
    gold = [
        {
            "span": e.span, "start": e.start, "end": e.end, "type": e.type,
            "boxes": list(map(box_data, e.boxes if post.task != "mner" else ())),  # see `Post.grounded`
        }
        for e in post.entities
    ]  # fmt: skip
    column = json.dumps(gold)
    gold_entities(column, post.text)
    columns: dict[str, Any] = {
        "post_text": post.text,
        "gold": column,
        "size": None if frame.size is None else list(frame.size),
        "resized": None if frame.resized is None else list(frame.resized),
    }
    columns |= {MORE_SIZES: json.dumps(frame.more)} if frame.more else {}
    return columns | ({TASK: post.task} if post.task != "gmner" else {})


def completion_text(completion: Any) -> str:
    """The text of a completion, which is a string or a list of messages whose last one has the text (or parts).

    Raises:
        InputError: The completion has another format.
    """
    if isinstance(completion, str):
        return completion
    try:
        content = completion[-1]["content"]
        return content if isinstance(content, str) else "".join(p["text"] for p in content if p["type"] == "text")
    except (LookupError, TypeError) as error:
        accepted = "a string, or messages with role and content"
        raise InputError("A completion has an unknown format", received=completion, accepted=accepted) from error


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
    """Parse a completion strictly and compare it with the gold annotations of a post with at most one image.

    Mentions are matched one to one by (span, occurrence). If an answer repeats a mention, the entity whose box has the
    highest IoU is matched, then one with any box, then the first one. A mention that is given both with and without a
    box therefore counts as predicted to be shown.

    Returns:
        None if the completion is not a valid answer.

    Raises:
        DataError: The gold annotations do not match the text.
        InputError: A size that the coordinate convention needs is missing.
    """
    return judge_rows([(completion, post_text, gold, size, resized, "", "gmner")], labels, box_format)[0]


def judge_rows(rows: Iterable[Row], labels: LabelSet, box_format: BoxFormat) -> list[Judgement | None]:
    """Judge each row, see `judge`; equal rows are parsed once.

    Args:
        rows: Answer (None: invalid), text of the post, gold, size and resized size of its image, and the columns
            `more_sizes` (empty if the post has at most one image) and `task`.
        labels: The entity types.
        box_format: The coordinate convention of boxes.
    """
    frames: dict[tuple[Size | None, Size | None, str], Frame] = {}
    by_row: dict[Row, Judgement | None] = {}
    judgements = []
    for row in rows:
        if row not in by_row:
            answer, text, gold, size, resized, more, task = row
            frame = frames.get((size, resized, more))
            if frame is None:
                frame = frames[size, resized, more] = Frame(box_format, size, resized, _more_sizes(more))
                _check_frame(frame)
            wanted = gold_entities(gold, text)
            by_row[row] = None if answer is None else _judgement(answer, text, wanted, labels, frame, task)
        judgements.append(by_row[row])
    return judgements


def _judgement(
    answer: str, text: str, gold: tuple[GoldEntity, ...], labels: LabelSet, frame: Frame, task: Task
) -> Judgement | None:
    try:
        predicted = parse_task_answer(task, answer, text, labels, frame).entities
    except AnswerError:
        return None
    if task == "grec":
        return _expression_judgement(predicted[0].boxes, gold[0].boxes)
    by_span: dict[tuple[int, int], list[GroundedEntity]] = {}
    for entity in predicted:
        by_span.setdefault((entity.start, entity.end), []).append(entity)
    return Judgement(len(predicted), tuple([_find(e, by_span.get((e.start, e.end))) for e in gold]), task)


def _expression_judgement(predicted: Sequence[Box], targets: Sequence[Box]) -> Judgement:
    said = bool(predicted)
    if not targets:
        return Judgement(len(predicted), (_finding(False, True, True, said, 0.0),), "grec")
    overlaps = [0.0] * len(targets)
    if said:
        from scipy.optimize import linear_sum_assignment  # slow to import

        table = [[box.iou(target) for box in predicted] for target in targets]
        for place, other in zip(*linear_sum_assignment(table, maximize=True), strict=True):
            overlaps[place] = table[place][other]
    return Judgement(len(predicted), tuple(_finding(True, said, True, said, iou) for iou in overlaps), "grec")


def _find(gold: GoldEntity, same: list[GroundedEntity] | None) -> Finding:
    """The finding for one gold mention, from the predictions with the same offsets."""
    if not same:
        return _finding(bool(gold.boxes), False, False, False, 0.0)
    best = same[0] if len(same) == 1 else max(same, key=lambda e: -1.0 if e.box is None else _best_iou(gold, e.box))
    overlap = 0.0 if best.box is None else _best_iou(gold, best.box)
    return _finding(bool(gold.boxes), True, best.type == gold.type, best.box is not None, overlap)


_finding = lru_cache(maxsize=1024)(Finding)  # most findings are equal, and creating a frozen dataclass is slow


def _best_iou(gold: GoldEntity, box: Box) -> float:
    return max([box.iou(other) for other in gold.boxes], default=0.0)


def _check_frame(frame: Frame) -> None:
    """Raise an error if a size is missing; the parser would treat it as an invalid box with a reward of 0."""
    for size, resized in frame.pictures:
        frame.box_format.extent(size, resized)


def _more_sizes(column: str) -> tuple[Sizes, ...]:
    """The sizes of the further images of a post, from the column `more_sizes`."""
    sizes = json.loads(column) if column else ()
    return tuple(((size[0], size[1]), as_size(resized)) for size, resized in sizes)


def as_size(value: Sequence[int] | None) -> Size | None:
    """Convert a size from a data set, which is a list, to a hashable tuple."""
    return None if value is None else (value[0], value[1])


def _box(data: Sequence[Any]) -> Box:
    """Inverse of `box_data`."""
    return Box(*data[:4], picture=data[4] if len(data) > 4 else 1)


@lru_cache(maxsize=1024)
def gold_entities(gold: str, post_text: str) -> tuple[GoldEntity, ...]:
    """The gold mentions of a row.

    Raises:
        DataError: A mention is not in the text at its offsets, or two mentions have the same offsets.
    """
    entities = tuple(
        GoldEntity(r["span"], r["start"], r["end"], r["type"], tuple(map(_box, r["boxes"]))) for r in json.loads(gold)
    )
    for entity in entities:
        if not entity.span or post_text[entity.start : entity.end] != entity.span:
            raise DataError("A gold mention is not in the text at its offsets", received=entity)
    if len({entity.key for entity in entities}) != len(entities):
        raise DataError("Two gold mentions have the same offsets", received=gold)
    return entities
