"""Textual and visual bias: how much a program relies on one modality alone.

The paper (MCR, Ma et al., Findings of ACL 2026) reports both without exact definitions; the definitions here are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from gmner.data.post import Post
from gmner.data.scoring.pairing import Pairs, Scores, TaskCounts, pair_mentions
from gmner.signatures.mentions import GroundedEntity


@dataclass(frozen=True, slots=True)
class BiasCounts:
    """Counts for the bias metrics over one or more posts. A mention is found if its span is predicted.

    Attributes:
        none_correct: Found mentions that are not shown and have no predicted box.
        none_predicted: Found mentions without a predicted box.
        none_gold: Found mentions that are not shown.
        visual: Predictions caused by the image instead of the text, see `Bias.n_count`.
        predicted: All predictions.
    """

    none_correct: int = 0
    none_predicted: int = 0
    none_gold: int = 0
    visual: int = 0
    predicted: int = 0

    def __add__(self, other: BiasCounts) -> BiasCounts:
        return BiasCounts(
            self.none_correct + other.none_correct,
            self.none_predicted + other.none_predicted,
            self.none_gold + other.none_gold,
            self.visual + other.visual,
            self.predicted + other.predicted,
        )


@dataclass(frozen=True, slots=True)
class Bias:
    """Bias figures. Shares are in percent, and None if the denominator is 0.

    Attributes:
        n_pre: Textual bias: precision of "not shown" over the found mentions; None also if the data has no regions.
        n_rec: Recall of "not shown".
        n_f1: F1 of "not shown".
        grounded_absent: Number of found mentions that are not shown but have a predicted box; None if the data has no
            regions.
        n_count: Visual bias: number of predictions whose span is not in the text, or is not a gold span while the image
            shows an object of that name (only if the scene is known, see `Post.scene`).
        n_rate: `n_count` as a share of all predictions.
    """

    n_pre: float | None
    n_rec: float | None
    n_f1: float | None
    grounded_absent: int | None
    n_count: int
    n_rate: float | None

    @classmethod
    def of(cls, counts: BiasCounts, *, grounded: bool = True) -> Bias:
        """Compute the bias figures.

        Args:
            counts: The counts.
            grounded: Whether the data annotates regions; if not, textual bias is None.
        """
        scores = Scores.of(TaskCounts(counts.none_correct, counts.none_predicted, counts.none_gold))
        return cls(
            n_pre=scores.precision if grounded and scores.predicted else None,
            n_rec=scores.recall if grounded and scores.gold else None,
            n_f1=scores.f1 if grounded and (scores.predicted or scores.gold) else None,
            grounded_absent=counts.none_gold - counts.none_correct if grounded else None,
            n_count=counts.visual,
            n_rate=100 * counts.visual / counts.predicted if counts.predicted else None,
        )

    def to_dict(self) -> dict[str, float | None]:
        """Convert the figures to JSON data."""
        return asdict(self)


def count_bias(post: Post, predicted: Sequence[GroundedEntity], pairs: Pairs | None = None) -> BiasCounts:
    """Count one post.

    Args:
        post: An annotated post.
        predicted: The predictions.
        pairs: The pairs of gold and predicted mentions, see `pair_mentions`; computed if None.
    """
    pairs = pair_mentions(post.gold, predicted) if pairs is None else pairs
    paired = [(post.gold[g], predicted[p]) for g, p in pairs]
    return BiasCounts(
        none_correct=sum(not g.visible and p.box is None for g, p in paired),
        none_predicted=sum(p.box is None for _, p in paired),
        none_gold=sum(not g.visible for g, _ in paired),
        visual=len(picture_driven(post, predicted)),
        predicted=len(predicted),
    )


def picture_driven(post: Post, predicted: Iterable[GroundedEntity]) -> list[GroundedEntity]:
    """The predictions caused by the image instead of the text, see `Bias.n_count`."""
    gold = {entity.key for entity in post.gold}
    shown = {thing.name.casefold() for thing in post.scene or ()}
    return [
        entity
        for entity in predicted
        if not in_text(entity, post.text) or (entity.key not in gold and entity.span.casefold() in shown)
    ]


def in_text(entity: GroundedEntity, text: str) -> bool:
    """Whether the span of an entity is the text at its offsets."""
    return 0 <= entity.start < entity.end and text[entity.start : entity.end] == entity.span
