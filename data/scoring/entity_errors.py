"""`find_errors`: classifies the errors of a prediction, entity by entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from gmner.data.post import Post
from gmner.data.scoring.pairing import Pairs, pair_mentions
from gmner.data.scoring.region_rule import PAPER_REGION, RegionRule
from gmner.signatures.mentions import GoldEntity, GroundedEntity, Mention


class Fault(StrEnum):
    """An error class.

    `MISSED`: a gold mention without a prediction. `INVENTED`: a prediction that overlaps no unpaired gold mention.
    `WRONG_SPAN`: a prediction that overlaps a gold mention but has other offsets. The other classes concern pairs with
    the same offsets: `WRONG_TYPE`, `WRONG_BOX` (shown, with a wrong box), `BOXED_ABSENT` (not shown, but with a box),
    and `UNBOXED_SHOWN` (shown, but without a box). A pair can have both a wrong type and a wrong region.
    """

    MISSED = "missed"
    INVENTED = "invented"
    WRONG_SPAN = "wrong_span"
    WRONG_TYPE = "wrong_type"
    WRONG_BOX = "wrong_box"
    BOXED_ABSENT = "boxed_absent"
    UNBOXED_SHOWN = "unboxed_shown"

    @property
    def label(self) -> str:
        """Name of the class for reports."""
        return _LABELS[self]

    @property
    def about_regions(self) -> bool:
        """Whether the error concerns regions, and so cannot be detected in data without regions."""
        return self in (Fault.WRONG_BOX, Fault.BOXED_ABSENT, Fault.UNBOXED_SHOWN)


_LABELS = {
    Fault.MISSED: "missed",
    Fault.INVENTED: "invented",
    Fault.WRONG_SPAN: "wrong span",
    Fault.WRONG_TYPE: "wrong type",
    Fault.WRONG_BOX: "wrong box",
    Fault.BOXED_ABSENT: "boxed though not shown",
    Fault.UNBOXED_SHOWN: "not boxed though shown",
}


@dataclass(frozen=True, slots=True)
class EntityError:
    """A gold mention paired with a prediction, and the errors of the pair.

    Attributes:
        gold: The gold mention; None if the prediction is invented.
        predicted: The prediction; None if the mention was missed.
        faults: The error classes; empty if the prediction is correct.
    """

    gold: GoldEntity | None
    predicted: GroundedEntity | None
    faults: tuple[Fault, ...]


def find_errors(
    gold: Sequence[GoldEntity],
    predicted: Sequence[GroundedEntity],
    region: RegionRule = PAPER_REGION,
    pairs: Pairs | None = None,
) -> list[EntityError]:
    """Classify the errors of the predictions for one post.

    Every gold mention and every prediction occurs in exactly one `EntityError`. Mentions with the same offsets are
    paired first, then overlapping ones, largest overlap first.

    Args:
        gold: The gold mentions.
        predicted: The predictions.
        region: Rule that decides whether a region is correct.
        pairs: The pairs with the same offsets, see `pair_mentions`; computed if None.

    Returns:
        All pairs in text order, including those without an error.
    """
    pairs = pair_mentions(gold, predicted) if pairs is None else pairs
    errors = [EntityError(gold[g], predicted[p], _pair_faults(gold[g], predicted[p], region)) for g, p in pairs]
    paired_gold, paired_predicted = {g for g, _ in pairs}, {p for _, p in pairs}
    free_gold = [g for i, g in enumerate(gold) if i not in paired_gold]
    free_predicted = [p for i, p in enumerate(predicted) if i not in paired_predicted]
    overlapping = _overlapping(free_gold, free_predicted)
    errors += [EntityError(free_gold[i], free_predicted[j], (Fault.WRONG_SPAN,)) for i, j in overlapping]
    met_gold, met_predicted = {i for i, _ in overlapping}, {j for _, j in overlapping}
    errors += [EntityError(g, None, (Fault.MISSED,)) for i, g in enumerate(free_gold) if i not in met_gold]
    errors += [EntityError(None, p, (Fault.INVENTED,)) for j, p in enumerate(free_predicted) if j not in met_predicted]
    return sorted(errors, key=lambda error: (error.gold or error.predicted or _NOWHERE).key)


def post_errors(post: Post, predicted: Sequence[GroundedEntity]) -> list[EntityError]:
    """`find_errors` for a post; without errors about regions if the post is not grounded."""
    errors = find_errors(post.gold, predicted)
    if post.grounded:
        return errors
    return [replace(error, faults=tuple(f for f in error.faults if not f.about_regions)) for error in errors]


_NOWHERE = Mention("", -1, -1, "")


def _pair_faults(gold: GoldEntity, predicted: GroundedEntity, region: RegionRule) -> tuple[Fault, ...]:
    faults = [] if gold.type == predicted.type else [Fault.WRONG_TYPE]
    if not region.right(predicted.box, gold.boxes):
        if not gold.visible:
            faults.append(Fault.BOXED_ABSENT)
        else:
            faults.append(Fault.UNBOXED_SHOWN if predicted.box is None else Fault.WRONG_BOX)
    return tuple(faults)


def _overlapping(gold: list[GoldEntity], predicted: list[GroundedEntity]) -> list[tuple[int, int]]:
    """One-to-one pairs (index in gold, in predicted) of mentions that share characters, largest overlap first."""
    if not gold or not predicted:
        return []
    starts, ends = (np.array([getattr(p, name) for p in predicted]) for name in ("start", "end"))
    candidates = []
    for index, mention in enumerate(gold):
        shared = np.minimum(ends, mention.end) - np.maximum(starts, mention.start)
        (overlapping,) = np.nonzero((shared > 0) & ((starts != mention.start) | (ends != mention.end)))
        candidates.append(np.stack([-shared[overlapping], np.full(len(overlapping), index), overlapping]))
    common = np.concatenate(candidates, axis=1)
    chosen: dict[int, int] = {}
    used = set[int]()
    for i, j in common[1:, np.lexsort(common[::-1])].T.tolist():
        if i not in chosen and j not in used:
            chosen[i] = j
            used.add(j)
            if len(chosen) == min(len(gold), len(predicted)):
                break
    return list(chosen.items())
