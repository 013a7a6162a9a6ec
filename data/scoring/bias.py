"""Textual and visual bias: how much a program relies on one modality alone.

The paper (MCR, Ma et al., Findings of ACL 2026) shows both without publishing exact definitions; these are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from gmner.data.post import Post
from gmner.data.scoring.pairing import Pairs, Scores, TaskCounts, pair_mentions
from gmner.signatures.mentions import GroundedEntity


@dataclass(frozen=True, slots=True)
class BiasCounts:
    """What the bias metrics are made of, over one or more posts.

    Attributes:
        none_correct: Found mentions that are not shown and got no box.
        none_predicted: Found mentions that got no box.
        none_gold: Found mentions that are not shown.
        visual: Predictions that the image, not the text, gave rise to.
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
    """Bias figures; the shares in percent, None where there is nothing to take a share of.

    Attributes:
        n_pre: Textual bias, over correctly found entities with "not shown" as the positive class: precision.
        n_rec: Its recall.
        n_f1: Its F1.
        grounded_absent: Number of found entities that are not shown and were given a box; None: the data does not say
            what is shown.
        n_count: Visual bias: number of predictions whose span is not in the text, or is no gold span while the image
            shows a thing of that name (where the data knows what the image shows, see `Post.scene`).
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
        """Bias figures from counts.

        Args:
            counts: The counts.
            grounded: Whether the data says where entities are; if not, there is no figure of textual bias.
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
        """The figures as JSON data."""
        return asdict(self)


def count_bias(post: Post, predicted: Sequence[GroundedEntity], pairs: Pairs | None = None) -> BiasCounts:
    """Count one post.

    Args:
        post: An annotated post.
        predicted: The answer.
        pairs: Its pairs with the gold, see `pair_mentions`; None: they are made here.
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
    """The predictions that the image, not the text, gave rise to; see `Bias.n_count`."""
    gold = {entity.key for entity in post.gold}
    shown = {thing.name.casefold() for thing in post.scene or ()}
    return [
        entity
        for entity in predicted
        if not in_text(entity, post.text) or (entity.key not in gold and entity.span.casefold() in shown)
    ]


def in_text(entity: GroundedEntity, text: str) -> bool:
    """Whether the entity's span stands at its offsets."""
    return 0 <= entity.start < entity.end and text[entity.start : entity.end] == entity.span
