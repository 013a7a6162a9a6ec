"""Scores for referring expressions with zero, one or several targets, as in GREC / gRefCOCO."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.matching import count_right
from gmner.data.scoring.region_rule import RegionRule
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError


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
    predictions: Iterable[Prediction], posts: Sequence[Post], threshold: float = 0.5
) -> ExpressionScores:
    """Score the predicted boxes of referring expressions.

    The predicted set consists of all boxes of the entities of a prediction (`box` and `more_boxes`), the targets of all
    `boxes` of the entities of the post. Words and types are ignored. A post without a prediction has no box.

    Args:
        predictions: The predictions.
        posts: The expressions, see `read_grec`.
        threshold: Minimum IoU with which a box matches a target.

    Raises:
        InputError: There are no posts, or two predictions have the same id.

    Source: GREC (He et al., 2023) and the evaluation of its MDETR baseline, with the largest one-to-one matching
    instead of a greedy one.
    """
    if not posts:
        raise InputError("posts must not be empty")
    answers: dict[str, list[Box]] = {}
    for prediction in predictions:
        if prediction.id in answers:
            raise InputError("Two predictions have the same id", received=prediction.id)
        answers[prediction.id] = [box for entity in prediction.entities for box in entity.boxes]
    pairs = [(answers.get(post.id, []), [b for e in post.gold for b in e.boxes]) for post in posts]
    exact = sum(_exact(boxes, targets, threshold) for boxes, targets in pairs)
    absent = [not boxes for boxes, targets in pairs if not targets]
    present = [bool(boxes) for boxes, targets in pairs if targets]
    return ExpressionScores(100 * exact / len(pairs), _share(absent), _share(present), len(pairs), len(absent))


def _exact(boxes: Sequence[Box], targets: Sequence[Box], threshold: float) -> bool:
    if len(boxes) != len(targets):
        return False
    rule = RegionRule(threshold, inclusive=True)
    return count_right([(target,) for target in targets], [(box,) for box in boxes], rule) == len(targets)


def _share(hits: Sequence[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None
