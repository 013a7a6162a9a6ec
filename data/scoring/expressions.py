"""Scores for referring expressions with zero, one or several targets, as in GREC / gRefCOCO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gmner.data.post import Post
from gmner.data.scoring.evaluate import Answers, answers_by_id
from gmner.data.scoring.matching import count_right
from gmner.data.scoring.region_rule import RegionRule
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity


@dataclass(frozen=True, slots=True)
class ExpressionScores:
    """Scores for the grounding of referring expressions.

    Attributes:
        precision: Share of expressions whose boxes match the targets one to one, in percent; an expression without a
            target is correct if it has no box. Also known as Pr@(F1=1, IoU>=0.5).
        n_acc: Share of expressions without a target that have no box, in percent; None if there are none.
        t_acc: Share of expressions with a target that have a box, in percent; None if there are none.
        expressions: Number of expressions.
        no_target: Number of expressions without a target.
    """

    precision: float
    n_acc: float | None
    t_acc: float | None
    expressions: int
    no_target: int

    def to_dict(self) -> dict[str, float | None]:
        """Convert the scores to JSON data."""
        return asdict(self)


def evaluate_expressions(
    predictions: Answers, posts: Sequence[Post], threshold: float = 0.5, *, progress: bool = True
) -> ExpressionScores:
    """Score the predicted boxes of referring expressions.

    The predicted set consists of all boxes of the entities of a prediction (`box` and `more_boxes`), the targets of all
    `boxes` of the entities of the post. Words and types are ignored. A post without a prediction has no box. A
    prediction with an error is wrong, also for an expression without a target.

    Args:
        predictions: The predictions, or a program such as `GREC`; see `gmner.evaluate`.
        posts: The expressions, see `read_grec`.
        threshold: Minimum IoU with which a box matches a target.
        progress: Show a progress bar while a program runs.

    Raises:
        InputError: There are no posts, or two predictions have the same id.

    Source: GREC (He et al., 2023) and the evaluation of its MDETR baseline, with the largest one-to-one matching
    instead of a greedy one.
    """
    if not posts:
        raise InputError("posts must not be empty")
    answers = answers_by_id(predictions, posts, progress=progress)
    boxes_of = {id_: None if answer.error else _boxes(answer.entities) for id_, answer in answers.items()}
    pairs = [(boxes_of.get(post.id, []), _boxes(post.gold)) for post in posts]
    exact = sum(_exact(boxes, targets, threshold) for boxes, targets in pairs)
    absent = [boxes == [] for boxes, targets in pairs if not targets]
    present = [bool(boxes) for boxes, targets in pairs if targets]
    return ExpressionScores(100 * exact / len(pairs), _share(absent), _share(present), len(pairs), len(absent))


def _boxes(entities: Sequence[GoldEntity] | Sequence[GroundedEntity]) -> list[Box]:
    return [box for entity in entities for box in entity.boxes]


def _exact(boxes: Sequence[Box] | None, targets: Sequence[Box], threshold: float) -> bool:
    """Whether the boxes of an answer are the targets; None: there is no answer, because of an error."""
    if boxes is None or len(boxes) != len(targets):
        return False
    rule = RegionRule(threshold, inclusive=True)
    return count_right([(target,) for target in targets], [(box,) for box in boxes], rule) == len(targets)


def _share(hits: Sequence[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None
