"""One-to-one matching of predicted and gold regions.

Equal regions are grouped, so that n equal gold and m equal predicted regions take one comparison. Different regions are
compared pairwise; each predicted region is compared with all gold regions in one numpy operation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gmner.data.scoring.region_rule import RegionRule
from gmner.signatures.boxes import Box, iou

Boxes = tuple[Box, ...]
"""The boxes of a gold mention, each of which is correct; empty if not shown."""

Region = tuple[Box | None, ...]
"""The boxes of a prediction, which is correct if any of them is; None means not shown."""

_FEW = 64


class GoldRegions:
    """The regions of gold mentions as arrays, for comparison with many predicted boxes.

    Args:
        regions: The boxes of each mention, pixels of the original image.
    """

    def __init__(self, regions: Sequence[Boxes]) -> None:
        self._regions = regions
        self._shown = [index for index, boxes in enumerate(regions) if boxes]
        rows = [box.as_tuple() for boxes in regions for box in boxes]
        self._boxes = np.array(rows, dtype=float).reshape(-1, 4)
        self._pictures = np.array([box.picture for boxes in regions for box in boxes], dtype=int)
        sizes = [len(regions[index]) for index in self._shown]
        self._starts = np.cumsum([0, *sizes[:-1]]) if sizes else np.zeros(0, dtype=int)

    def best_ious(self, box: Box) -> np.ndarray:
        """The highest IoU of a box with the boxes of each region: (regions,) float, 0..1; 0 for regions not shown."""
        if len(self._boxes) < _FEW:
            return np.array([max((iou(box, gold) for gold in boxes), default=0.0) for boxes in self._regions])
        best = np.zeros(len(self._regions))
        best[self._shown] = np.maximum.reduceat(
            np.where(self._pictures == box.picture, _ious(box, self._boxes), 0.0), self._starts
        )
        return best

    def right(self, predicted: Region, rule: RegionRule) -> np.ndarray:
        """For which regions a prediction is correct: (regions,) bool."""
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
    """The size of the largest one-to-one matching of predicted regions with gold regions for which they are correct.

    Args:
        gold: The regions of the gold mentions.
        predicted: The regions of the predictions, each of which may be matched with any gold region.
        rule: Rule that decides whether a region is correct.
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
    """The largest one-to-one matching of regions that occur several times, computed as a maximum flow."""
    from scipy.sparse import csr_array  # slow to import, and --help needs the names of the protocols only
    from scipy.sparse.csgraph import maximum_flow

    gold, answers = list(rows.values()), list(columns.values())
    source, sink = 0, 1 + len(gold) + len(answers)
    first, second = np.nonzero(right)
    starts = np.concatenate([np.full(len(gold), source), 1 + first, 1 + len(gold) + np.arange(len(answers))])
    ends = np.concatenate([1 + np.arange(len(gold)), 1 + len(gold) + second, np.full(len(answers), sink)])
    capacity = np.concatenate([gold, np.minimum(np.take(gold, first), np.take(answers, second)), answers])
    graph = csr_array((capacity.astype(np.int32), (starts, ends)), shape=(sink + 1, sink + 1))
    return int(maximum_flow(graph, source, sink).flow_value)


def _ious(box: Box, boxes: np.ndarray) -> np.ndarray:
    """`iou` of a box with each row of (n, 4), with the same order of operations."""
    x1, y1, x2, y2 = boxes.T
    width = np.minimum(box.x2, x2) - np.maximum(box.x1, x1)
    height = np.minimum(box.y2, y2) - np.maximum(box.y1, y1)
    common = width * height
    apart = (width <= 0) | (height <= 0)
    union = np.where(apart, 1.0, box.area + (x2 - x1) * (y2 - y1) - common)
    ratios = np.where(apart, 0.0, common / union)
    return np.where((boxes == box.as_tuple()).all(1), 1.0, ratios)
