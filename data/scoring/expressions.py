"""Scores for referring expressions with zero, one or several targets, as in GREC / gRefCOCO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gmner.data.post import Post
from gmner.data.scoring.evaluate import Answers, answer_of, answers_by_id, check_annotated
from gmner.data.scoring.matching import count_right
from gmner.data.scoring.region_rule import RegionRule
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity, GroundedEntity

EXPRESSION_RULE = RegionRule(0.5, inclusive=True)
"""The rule of GREC: an IoU of 0.5 or more."""


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
        InputError: There are no posts, a post is not annotated, an id occurs twice, or a prediction has another text
            than its post.

    Source: GREC (He et al., 2023) and the evaluation of its MDETR baseline, with the largest one-to-one matching
    instead of a greedy one.
    """
    check_annotated(posts)
    by_id = answers_by_id(predictions, posts, progress=progress)
    answers = [answer_of(post, by_id) for post in posts]
    found = [None if answer.error else boxes_of(answer.entities) for answer in answers]
    pairs = [(boxes, boxes_of(post.gold)) for boxes, post in zip(found, posts, strict=True)]
    rule = RegionRule(threshold, inclusive=True)
    exact = sum(boxes is not None and expression_f1(boxes, targets, rule) == 1 for boxes, targets in pairs)
    absent = [boxes == [] for boxes, targets in pairs if not targets]
    present = [bool(boxes) for boxes, targets in pairs if targets]
    return ExpressionScores(100 * exact / len(pairs), _share(absent), _share(present), len(pairs), len(absent))


def expression_f1(predicted: Sequence[Box], targets: Sequence[Box], rule: RegionRule = EXPRESSION_RULE) -> float:
    """F1 of the boxes for one expression, 0..1; 1.0 if there are neither targets nor boxes.

    Args:
        predicted: The predicted boxes.
        targets: The boxes of the targets; each is matched with one predicted box at most.
        rule: Rule that decides whether a box matches a target.

    Source: F1 of one sample in GREC (He et al., 2023).
    """
    if not predicted and not targets:
        return 1.0
    right = count_right([(target,) for target in targets], [(box,) for box in predicted], rule)
    return 2 * right / (len(predicted) + len(targets))


def boxes_of(entities: Sequence[GoldEntity] | Sequence[GroundedEntity]) -> list[Box]:
    """All boxes of some entities."""
    return [box for entity in entities for box in entity.boxes]


def _share(hits: Sequence[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None
