"""Bootstrap intervals of F1, and a paired test of two systems on the same posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gmner.data.scoring.counting import PostCounts
from gmner.data.scoring.pairing import TASKS
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from gmner.data.scoring.evaluation import Evaluation

RESAMPLES = 1000
SWAPS = 10_000
_CHUNK = 256

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference in F1 between two systems in one task.

    Attributes:
        first: F1 of the first system in percent.
        second: F1 of the second system in percent.
        difference: `second - first` in percentage points.
        low: Lower end of the 95 % paired bootstrap interval of the difference.
        high: Upper end of the interval.
        p_value: Two-sided p-value of approximate randomization.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float

    def to_dict(self) -> dict[str, float]:
        """Convert the figures to JSON data."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class Comparison:
    """The paired test of two systems, see `compare`.

    Attributes:
        posts: Number of posts.
        protocol: Name of the scoring protocol.
        tasks: Task -> `Difference`.
        names: Names of the two systems for the printed table.
    """

    posts: int
    protocol: str
    tasks: dict[str, Difference]
    names: tuple[str, str] = ("first", "second")

    def to_dict(self) -> dict[str, Any]:
        """Convert the comparison to JSON data."""
        tasks = {task: difference.to_dict() for task, difference in self.tasks.items()}
        return {"posts": self.posts, "protocol": self.protocol, "tasks": tasks}

    def __repr__(self) -> str:
        first, second = self.names
        width1, width2 = max(7, len(first)), max(7, len(second))
        lines = [
            f"{self.posts:,} posts, protocol `{self.protocol}`: paired comparison of F1",
            f"{'':<6} {first:>{width1}} {second:>{width2}}  {second} - {first} (95 % interval)",
        ]
        for task, row in self.tasks.items():
            gain = f"{row.difference:>+6.2f} ({row.low:+.1f} to {row.high:+.1f})  p = {row.p_value:.4f}"
            lines.append(f"{task.upper():<6} {row.first:>{width1}.2f} {row.second:>{width2}.2f}  {gain}")
        return "\n".join(lines)


def f1_intervals(counts: Sequence[PostCounts], tasks: Sequence[str], seed: int) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals (2.5 to 97.5 %) of the F1 of each task, with posts drawn with replacement.

    Args:
        counts: The counts of each post.
        tasks: The tasks to compute intervals for.
        seed: Seed of the bootstrap.

    Returns:
        Task -> (low, high) in percent.
    """
    table = _table(counts)
    # Posts with the same counts are interchangeable, so it suffices to draw how often each distinct row occurs.
    rows, sizes = np.unique(table.reshape(len(table), -1), axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(table), sizes / len(table), size=RESAMPLES)
    sums = (draws @ rows).reshape(RESAMPLES, len(TASKS), 2)
    low, high = np.percentile(_f1(sums), [2.5, 97.5], axis=0)
    return {task: (float(low[i]), float(high[i])) for i, task in enumerate(TASKS) if task in tasks}


def compare(
    first: Evaluation, second: Evaluation, *, seed: int = 0, names: tuple[str, str] = ("first", "second")
) -> Comparison:
    """Test whether the second system is better than the first on the same posts.

    The difference is `second - first`, so `compare(before, after)` is positive if the score has improved.

    The interval is a paired bootstrap interval: the same posts are drawn with replacement for both systems. The p-value
    is the two-sided p-value of approximate randomization with 10,000 trials, each of which swaps the two answers to a
    post with probability 0.5.

    Args:
        first: The evaluation of the baseline, or of the program before it was compiled.
        second: The evaluation of the other system on the same posts with the same protocol.
        seed: Seed of both procedures.
        names: Names of the two systems for the printed table.

    Example:
        >>> compare(before, after, names=("before", "after"))  # doctest: +SKIP

    Raises:
        InputError: The posts or the protocols differ.

    Source: Yeh, "More accurate tests for the statistical significance of result differences", COLING 2000.
    """
    ids, others = ([prediction.id for prediction in e.predictions] for e in (first, second))
    if ids != others or [p.text for p in first.predictions] != [p.text for p in second.predictions]:
        raise InputError("The two evaluations use different posts", received=(len(ids), len(others)))
    if first.protocol != second.protocol:
        raise InputError("The two evaluations use different protocols", received=(first.protocol, second.protocol))
    pair = np.stack([_table(first.counts), _table(second.counts)])
    rng = np.random.default_rng(seed)
    both = _f1(pair.sum(axis=1))
    lows, highs = _paired_interval(pair, rng)
    p_values = _swapped(pair, rng)
    tasks = {
        task: Difference(
            first=float(both[0, i]),
            second=float(both[1, i]),
            difference=float(both[1, i] - both[0, i]),
            low=float(lows[i]),
            high=float(highs[i]),
            p_value=float(p_values[i]),
        )
        for i, task in enumerate(TASKS)
        if task in first.tasks
    }
    return Comparison(len(ids), first.protocol, tasks, names)


def _table(counts: Sequence[PostCounts]) -> NDArray[np.int64]:
    """Counts as an array (posts, tasks, 2): correct, and predicted plus gold."""
    rows = [[(c[task].correct, c[task].predicted + c[task].gold) for task in TASKS] for c in counts]
    return np.array(rows, dtype=np.int64).reshape(len(counts), len(TASKS), 2)


def _f1(sums: NDArray[np.int64]) -> Floats:
    """F1 in percent from sums (..., 2)."""
    correct, rows = sums[..., 0], sums[..., 1]
    return np.where(rows == 0, 100.0, 200.0 * correct / np.maximum(rows, 1))


def _paired_interval(pair: NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Lower and upper ends of the interval of the difference by task; `pair` is (2, posts, tasks, 2)."""
    size = pair.shape[1]
    flat = np.concatenate([pair[0].reshape(size, -1), pair[1].reshape(size, -1)], axis=1)
    rows, sizes = np.unique(flat, axis=0, return_counts=True)
    draws = rng.multinomial(size, sizes / size, size=RESAMPLES)
    sums = (draws @ rows).reshape(RESAMPLES, 2, len(TASKS), 2)
    f1 = _f1(sums)
    low, high = np.percentile(f1[:, 1] - f1[:, 0], [2.5, 97.5], axis=0)
    return low, high


def _swapped(pair: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Two-sided p-values of approximate randomization, by task."""
    size = pair.shape[1]
    total = pair.sum(axis=1)
    observed = np.abs(np.diff(_f1(total), axis=0))[0]
    # Swapping has an effect only on posts with different counts.
    gap = (pair[1] - pair[0]).reshape(size, -1)
    gap = gap[gap.any(axis=1)].astype(np.float64)
    extreme = np.zeros(len(TASKS))
    for start in range(0, SWAPS, _CHUNK):
        moved = rng.integers(0, 2, (min(_CHUNK, SWAPS - start), len(gap))) @ gap
        sums = np.rint(moved).astype(np.int64).reshape(-1, len(TASKS), 2)
        differences = _f1(total[1] - sums) - _f1(total[0] + sums)
        extreme += (np.abs(differences) >= observed - 1e-9).sum(axis=0)
    return (extreme + 1) / (SWAPS + 1)
