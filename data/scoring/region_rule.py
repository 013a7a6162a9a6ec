"""When a predicted region is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gmner.signatures.boxes import Box, iou


@dataclass(frozen=True, slots=True)
class RegionRule:
    """When a predicted region is right.

    Not shown: right only if None. Shown: right if the IoU with any one gold box reaches the threshold.

    Attributes:
        threshold: The IoU to reach, 0..1.
        inclusive: Whether exactly the threshold is enough (`>=`), or not (`>`).
    """

    threshold: float = 0.5
    inclusive: bool = False

    def right(self, box: Box | None, gold_boxes: Sequence[Box]) -> bool:
        """Whether `box` (None: not shown) is right for an entity with `gold_boxes` (none: not shown)."""
        if box is None or not gold_boxes:
            return box is None and not gold_boxes
        best = best_iou(box, gold_boxes)
        return best >= self.threshold if self.inclusive else best > self.threshold


PAPER_REGION = RegionRule(0.5, inclusive=False)
"""The rule of the ACL 2023 paper: above 0.5."""


def best_iou(box: Box | None, gold_boxes: Sequence[Box]) -> float:
    """The highest IoU of a box with any gold box, 0..1; 0 where there is no box on either side."""
    return 0.0 if box is None else max((iou(box, gold) for gold in gold_boxes), default=0.0)
