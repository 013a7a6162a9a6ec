"""One-to-one matching of predicted and gold regions.

Equal regions are counted and compared once: n equal gold and m equal predicted regions cost one comparison. Different
regions are compared pairwise, each predicted region with all gold regions in one numpy operation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gmner.data.scoring.region_rule import RegionRule
from gmner.signatures.boxes import Box, iou

Boxes = tuple[Box, ...]
"""The boxes of a gold mention, each valid; empty: not shown."""

Region = tuple[Box | None, ...]
"""What a prediction says, right if one of it is; None: not shown."""

_FEW = 64


class GoldRegions:
    """The regions of gold mentions, ready to be compared with many predicted boxes.

    Args:
        regions: The boxes of each mention, pixels of the original image.
    """

    def __init__(self, regions: Sequence[Boxes]) -> None:
        self._regions = regions
        self._shown = [place for place, boxes in enumerate(regions) if boxes]
        rows = [box.as_tuple() for boxes in regions for box in boxes]
        self._boxes = np.array(rows, dtype=float).reshape(-1, 4)
        sizes = [len(regions[place]) for place in self._shown]
        self._starts = np.cumsum([0, *sizes[:-1]]) if sizes else np.zeros(0, dtype=int)

    def best_ious(self, box: Box) -> np.ndarray:
        """The highest IoU of a box with any box of each region: (regions,) float, 0..1; 0 where it is not shown."""
        if len(self._boxes) < _FEW:
            return np.array([max((iou(box, gold) for gold in boxes), default=0.0) for boxes in self._regions])
        best = np.zeros(len(self._regions))
        best[self._shown] = np.maximum.reduceat(_ious(box, self._boxes), self._starts)
        return best

    def right(self, predicted: Region, rule: RegionRule) -> np.ndarray:
        """Which regions a prediction is right for: (regions,) bool."""
        shown = np.zeros(len(self._regions), dtype=bool)
        shown[self._shown] = True
        is_right = np.zeros(len(self._regions), dtype=bool)
        for box in predicted:
            if box is None:
                is_right |= ~shown
            else:
                best = self.best_ious(box)
                is_right |= shown & (best >= rule.threshold if rule.inclusive else best > rule.threshold)
        return is_right


def count_right(gold: Sequence[Boxes], predicted: Sequence[Region], rule: RegionRule) -> int:
    """The largest number of one-to-one pairs of a gold and a predicted region that is right for it.

    Args:
        gold: The regions of gold mentions that may be paired with any of the predictions.
        predicted: Their regions.
        rule: When a region is right.
    """
    rows, columns = Counter(gold), Counter(predicted)
    regions = GoldRegions(list(rows))
    right = np.array([regions.right(region, rule) for region in columns]).reshape(len(columns), len(rows)).T
    if min(right.shape) == 0 or not right.any():
        return 0
    if len(rows) == 1:
        return min(rows.total(), sum(n for n, fits in zip(columns.values(), right[0], strict=True) if fits))
    if len(columns) == 1:
        return min(columns.total(), sum(n for n, fits in zip(rows.values(), right[:, 0], strict=True) if fits))
    return _largest_flow(right, rows, columns)


def _largest_flow(right: np.ndarray, rows: Mapping[Boxes, int], columns: Mapping[Region, int]) -> int:
    """The largest one-to-one choice among regions that occur several times, as a flow through their counts."""
    from scipy.sparse import csr_array  # slow to import, and --help needs the names of the protocols only
    from scipy.sparse.csgraph import maximum_flow

    numbers, places = list(rows.values()), list(columns.values())
    source, sink = 0, 1 + len(numbers) + len(places)
    first, second = np.nonzero(right)
    starts = np.concatenate([np.full(len(numbers), source), 1 + first, 1 + len(numbers) + np.arange(len(places))])
    ends = np.concatenate([1 + np.arange(len(numbers)), 1 + len(numbers) + second, np.full(len(places), sink)])
    capacity = np.concatenate([numbers, np.minimum(np.take(numbers, first), np.take(places, second)), places])
    graph = csr_array((capacity.astype(np.int32), (starts, ends)), shape=(sink + 1, sink + 1))
    return int(maximum_flow(graph, source, sink).flow_value)


def _ious(box: Box, boxes: np.ndarray) -> np.ndarray:
    """`iou` of a box with each row of (n, 4), computed in the same order."""
    x1, y1, x2, y2 = boxes.T
    width = np.minimum(box.x2, x2) - np.maximum(box.x1, x1)
    height = np.minimum(box.y2, y2) - np.maximum(box.y1, y1)
    common = width * height
    apart = (width <= 0) | (height <= 0)
    union = np.where(apart, 1.0, box.area + (x2 - x1) * (y2 - y1) - common)
    ratios = np.where(apart, 0.0, common / union)
    return np.where((boxes == box.as_tuple()).all(1), 1.0, ratios)
