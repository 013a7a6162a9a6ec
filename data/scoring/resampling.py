"""Bootstrap intervals of an F1 over posts, and the paired test of two systems on the same posts."""

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
    """How two systems differ in a task on the same posts.

    Attributes:
        first: F1 of the first system, percent.
        second: F1 of the second.
        difference: `second - first`, points.
        low: Lower end of its 95 % paired bootstrap interval.
        high: Upper end.
        p_value: Probability of a difference at least this large if the two were interchangeable post by post.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float

    def to_dict(self) -> dict[str, float]:
        """The figures as JSON data."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class Comparison:
    """The paired test of two systems, see `compare`.

    Attributes:
        posts: Number of posts.
        protocol: Name of the way of counting.
        tasks: Task -> `Difference`.
        names: What the two systems are called, in the order of the arguments of `compare`.
    """

    posts: int
    protocol: str
    tasks: dict[str, Difference]
    names: tuple[str, str] = ("first", "second")

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON data."""
        tasks = {task: difference.to_dict() for task, difference in self.tasks.items()}
        return {"posts": self.posts, "protocol": self.protocol, "tasks": tasks}

    def __repr__(self) -> str:
        first, second = self.names
        one, two = max(7, len(first)), max(7, len(second))
        lines = [
            f"{self.posts:,} posts, protocol `{self.protocol}`: F1 of two systems, paired",
            f"{'':<6} {first:>{one}} {second:>{two}}  {second} - {first} (95 % interval)",
        ]
        for task, d in self.tasks.items():
            gain = f"{d.difference:>+6.2f} ({d.low:+.1f} to {d.high:+.1f})  p = {d.p_value:.4f}"
            lines.append(f"{task.upper():<6} {d.first:>{one}.2f} {d.second:>{two}.2f}  {gain}")
        return "\n".join(lines)


def f1_intervals(counts: Sequence[PostCounts], tasks: Sequence[str], seed: int) -> dict[str, tuple[float, float]]:
    """Percentile intervals (2.5 to 97.5 %) of each F1, posts drawn with replacement.

    Args:
        counts: One a post.
        tasks: The tasks that the posts can judge.
        seed: Seed of the draws.

    Returns:
        Task -> (low, high) in percent.
    """
    table = _table(counts)
    # Posts with the same counts are one kind: how often each kind is drawn is all that a resample can differ in.
    kinds, sizes = np.unique(table.reshape(len(table), -1), axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(table), sizes / len(table), size=RESAMPLES)
    sums = (draws @ kinds).reshape(RESAMPLES, len(TASKS), 2)
    low, high = np.percentile(_f1(sums), [2.5, 97.5], axis=0)
    return {task: (float(low[i]), float(high[i])) for i, task in enumerate(TASKS) if task in tasks}


def compare(
    first: Evaluation, second: Evaluation, *, seed: int = 0, names: tuple[str, str] = ("first", "second")
) -> Comparison:
    """Test whether the second system is better than the first on the same posts.

    The difference is `second - first`: `compare(before, after)` shows a gain as a positive number.

    The interval is the paired bootstrap's (posts drawn with replacement, the same for both). The p-value is that of
    approximate randomization, two-sided: the answers to each post change sides with probability one half, 10,000 times.

    Args:
        first: The evaluation of a system: the baseline, or the program before it was compiled.
        second: That of another, on the same posts, by the same protocol.
        seed: Seed of both.
        names: What to call the two where the comparison is printed.

    Example:
        >>> compare(before, after, names=("before", "after"))  # doctest: +SKIP

    Raises:
        InputError: Other posts, or another protocol.

    Source: Yeh, "More accurate tests for the statistical significance of result differences", COLING 2000.
    """
    ids, others = ([prediction.id for prediction in e.predictions] for e in (first, second))
    if ids != others or [p.text for p in first.predictions] != [p.text for p in second.predictions]:
        raise InputError("The two evaluations are of different posts", received=(len(ids), len(others)))
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
    """(posts, tasks, 2): correct, and predicted plus gold."""
    rows = [[(c[task].correct, c[task].predicted + c[task].gold) for task in TASKS] for c in counts]
    return np.array(rows, dtype=np.int64).reshape(len(counts), len(TASKS), 2)


def _f1(sums: NDArray[np.int64]) -> Floats:
    """F1 in percent from sums (..., 2)."""
    correct, rows = sums[..., 0], sums[..., 1]
    return np.where(rows == 0, 100.0, 200.0 * correct / np.maximum(rows, 1))


def _paired_interval(pair: NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Interval ends of the difference, by task; `pair` is (2, posts, tasks, 2)."""
    size = pair.shape[1]
    flat = np.concatenate([pair[0].reshape(size, -1), pair[1].reshape(size, -1)], axis=1)
    kinds, sizes = np.unique(flat, axis=0, return_counts=True)
    draws = rng.multinomial(size, sizes / size, size=RESAMPLES)
    sums = (draws @ kinds).reshape(RESAMPLES, 2, len(TASKS), 2)
    f1 = _f1(sums)
    low, high = np.percentile(f1[:, 1] - f1[:, 0], [2.5, 97.5], axis=0)
    return low, high


def _swapped(pair: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Two-sided p-values of approximate randomization, by task."""
    size = pair.shape[1]
    total = pair.sum(axis=1)
    observed = np.abs(np.diff(_f1(total), axis=0))[0]
    # Only posts that the two answered differently can change sides with an effect.
    gap = (pair[1] - pair[0]).reshape(size, -1)
    gap = gap[gap.any(axis=1)].astype(np.float64)
    extreme = np.zeros(len(TASKS))
    for start in range(0, SWAPS, _CHUNK):
        moved = rng.integers(0, 2, (min(_CHUNK, SWAPS - start), len(gap))) @ gap
        sums = np.rint(moved).astype(np.int64).reshape(-1, len(TASKS), 2)
        differences = _f1(total[1] - sums) - _f1(total[0] + sums)
        extreme += (np.abs(differences) >= observed - 1e-9).sum(axis=0)
    return (extreme + 1) / (SWAPS + 1)
