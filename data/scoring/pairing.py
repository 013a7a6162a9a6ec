"""Pairing of gold and predicted mentions, and precision, recall and F1 from counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from gmner.data.scoring.matching import GoldRegions
from gmner.data.scoring.region_rule import RegionRule as RegionRule  # kept for existing imports
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity, GroundedEntity

TASKS = ("gmner", "mner", "eeg")
"""GMNER: span, type and region. MNER: span and type. EEG: span and region."""


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Counts of one task over one or more posts."""

    correct: int = 0
    predicted: int = 0
    gold: int = 0

    def __add__(self, other: TaskCounts) -> TaskCounts:
        return TaskCounts(self.correct + other.correct, self.predicted + other.predicted, self.gold + other.gold)


@dataclass(frozen=True, slots=True)
class Scores:
    """Micro precision, recall and F1 in percent, with their counts.

    If there are neither gold nor predicted mentions, all three are 100; otherwise, a ratio with denominator 0 is 0. If
    the data cannot be scored in a task, all three are NaN, and null in JSON.
    """

    precision: float
    recall: float
    f1: float
    correct: int
    predicted: int
    gold: int

    @classmethod
    def of(cls, counts: TaskCounts) -> Scores:
        """Compute scores from counts."""
        correct, predicted, gold = counts.correct, counts.predicted, counts.gold
        if not predicted and not gold:
            return cls(100.0, 100.0, 100.0, 0, 0, 0)
        precision, recall = (100 * correct / n if n else 0.0 for n in (predicted, gold))
        return cls(precision, recall, 200 * correct / (predicted + gold), correct, predicted, gold)

    @classmethod
    def unknown(cls) -> Scores:
        """The scores of a task in which the data cannot be scored."""
        return cls(math.nan, math.nan, math.nan, 0, 0, 0)

    def to_dict(self) -> dict[str, float | None]:
        """Convert the scores to JSON data."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


Pairs = Sequence[tuple[int, int]]
"""Pairs (index in gold, index in predicted)."""


def pair_mentions(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity]) -> list[tuple[int, int]]:
    """Pair gold and predicted mentions with the same (start, end) one to one.

    The number of pairs is maximal. If there are several such pairings, the one with the highest total IoU is chosen (a
    correct "not shown" counts as 1), then the one with the most correct types.

    Returns:
        Pairs (index in `gold`, index in `predicted`), by gold index.

    Source: our own choice; MCR (Ma et al., Findings of ACL 2026) does not publish its matching.
    """
    groups: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for side, mentions in enumerate((gold, predicted)):
        for index, mention in enumerate(mentions):
            groups.setdefault(mention.key, ([], []))[side].append(index)
    pairs: list[tuple[int, int]] = []
    for rows, columns in groups.values():
        if len(rows) == len(columns) == 1:
            pairs.append((rows[0], columns[0]))
        elif rows and columns:
            weights = _agreement([gold[row] for row in rows], [predicted[column] for column in columns])
            pairs += [(rows[i], columns[j]) for i, j in zip(*_assign(weights), strict=True)]
    return sorted(pairs)


def _assign(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The one-to-one assignment with the largest total weight, as rows and columns."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    if (weights == weights[:1]).all():  # all rows are equal, so no search is needed
        count = min(weights.shape)
        return np.arange(count), np.sort(np.argsort(-weights[0], kind="stable")[:count])
    return linear_sum_assignment(weights, maximize=True)


def _agreement(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity]) -> np.ndarray:
    """Agreement of mentions with the same offsets: IoU of the regions, then the type; (gold, predicted) float."""
    regions = GoldRegions([entity.boxes for entity in gold])
    shown = np.array([entity.visible for entity in gold])
    overlaps: dict[Box | None, np.ndarray] = {}
    for entity in predicted:
        if entity.box not in overlaps:
            overlaps[entity.box] = np.where(shown, 0.0 if entity.box is None else regions.best_ious(entity.box), 0.0)
            overlaps[entity.box] += ~shown if entity.box is None else 0.0
    best = np.stack([overlaps[entity.box] for entity in predicted], axis=1)
    types = np.array([entity.type for entity in gold], dtype=object)[:, None]
    return best + 1e-6 * (types == np.array([entity.type for entity in predicted], dtype=object)).astype(float)
