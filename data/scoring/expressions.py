"""Scores of referring expressions with zero, one or several targets: GREC / gRefCOCO."""

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
    """How well expressions were grounded.

    Attributes:
        precision: Share of expressions whose boxes are the targets one to one, in percent; an expression without a
            target counts when it got no box. Elsewhere called Pr@(F1=1, IoU>=0.5).
        n_acc: Of the expressions without a target, the share that got no box, in percent; None: there are none.
        t_acc: Of the expressions with a target, the share that got a box, in percent; None: there are none.
        expressions: Number of expressions.
        no_target: Number of those without a target.
    """

    precision: float
    n_acc: float | None
    t_acc: float | None
    expressions: int
    no_target: int

    def to_dict(self) -> dict[str, float | None]:
        """The scores as JSON data."""
        return asdict(self)


def evaluate_expressions(
    predictions: Iterable[Prediction], posts: Sequence[Post], threshold: float = 0.5
) -> ExpressionScores:
    """Score the boxes that were predicted for referring expressions.

    All boxes of an answer's entities (`box` and `more_boxes`) together are the predicted set, all `boxes` of the post's
    entities the targets; words and types do not count. A post without a prediction got no box.

    Args:
        predictions: The answers.
        posts: Expressions, see `read_grec`.
        threshold: The IoU from which a box meets a target (`>=`).

    Raises:
        InputError: No posts, or two predictions of one id.

    Source: GREC (He et al., 2023), and the evaluation of its MDETR baseline, with the largest one-to-one matching in
    the place of its greedy one.
    """
    if not posts:
        raise InputError("posts must not be empty")
    answers: dict[str, list[Box]] = {}
    for prediction in predictions:
        if prediction.id in answers:
            raise InputError("Two predictions have the same id", received=prediction.id)
        answers[prediction.id] = [b for e in prediction.entities for b in (e.box, *e.more_boxes) if b is not None]
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
