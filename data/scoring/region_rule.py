"""`RegionRule`: decides whether a predicted region is correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gmner.signatures.boxes import Box, iou


@dataclass(frozen=True, slots=True)
class RegionRule:
    """Decides whether a predicted region is correct.

    For an entity that is not shown, only None is correct. For an entity that is shown, a box is correct if its IoU with
    any gold box reaches the threshold.

    Attributes:
        threshold: IoU threshold, 0..1.
        inclusive: Whether an IoU equal to the threshold is sufficient (`>=` instead of `>`).
    """

    threshold: float = 0.5
    inclusive: bool = False

    def right(self, box: Box | None, gold_boxes: Sequence[Box]) -> bool:
        """Whether `box` (None: not shown) is correct for an entity with `gold_boxes` (empty: not shown)."""
        if box is None or not gold_boxes:
            return box is None and not gold_boxes
        best = best_iou(box, gold_boxes)
        return best >= self.threshold if self.inclusive else best > self.threshold


PAPER_REGION = RegionRule(0.5, inclusive=False)
"""The rule of the ACL 2023 paper: IoU above 0.5."""


def best_iou(box: Box | None, gold_boxes: Sequence[Box]) -> float:
    """The highest IoU of a box with any gold box, 0..1; 0 if there is no predicted or no gold box."""
    return 0.0 if box is None else max((iou(box, gold) for gold in gold_boxes), default=0.0)
