"""Tables and plots of arms that were trained with several seeds and scored on the same posts of the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gmner.data.post import Post
from gmner.data.scoring.evaluation import Evaluation

RESAMPLES = 1000


def left_empty(evaluation: Evaluation) -> float:
    """Share of the posts without entities that have no predicted entities, in percent."""
    empty = [counts["gmner"] for counts in evaluation.counts if not counts["gmner"].gold]
    return 100 * sum(not count.predicted for count in empty) / len(empty) if empty else float("nan")


FIGURES: Mapping[str, Callable[[Evaluation], float]] = {
    "MNER F1": lambda e: e.mner.f1,
    "boxed correctly if shown, %": lambda e: e.found_of_shown or 0.0,
    "boxed if not shown, %": lambda e: e.boxed_of_absent or 0.0,
    "N-F1": lambda e: e.bias.n_f1 or 0.0,
    "grounded absent": lambda e: float(e.bias.grounded_absent or 0),
    "on lookalike posts": lambda e: float(e.by_slice["lookalike"].bias.grounded_absent or 0),
    "N-Rate, %": lambda e: e.bias.n_rate or 0.0,
    "empty posts answered correctly, %": left_empty,
}


def f1_with_interval(
    runs: Sequence[Evaluation], indices: Sequence[int], task: str = "gmner"
) -> tuple[float, float, float]:
    """Mean F1 over seeds, and its 95 % bootstrap interval over posts and seeds.

    Args:
        runs: One evaluation per seed, on the same posts.
        indices: Indices of the posts to score.
        task: The F1 of this task.
    """
    counts = _counts(runs, task)[:, indices]
    draws = [_mean_f1(counts[seeds][:, posts]) for seeds, posts in _draws(len(runs), len(indices))]
    low, high = np.percentile(draws, [2.5, 97.5])
    return _mean_f1(counts), float(low), float(high)


def gain_with_interval(
    runs: Sequence[Evaluation], base: Sequence[Evaluation], task: str = "gmner"
) -> tuple[float, float, float]:
    """Mean gain in F1 over another arm, and its paired 95 % bootstrap interval over posts and seeds."""
    new, old = _counts(runs, task), _counts(base, task)
    seeds = max(len(new), len(old))  # an arm without seeds has the same predictions for each seed
    new, old = (np.repeat(c, seeds, axis=0) if len(c) == 1 else c for c in (new, old))
    draws = [
        _mean_f1(new[drawn][:, posts]) - _mean_f1(old[drawn][:, posts]) for drawn, posts in _draws(seeds, new.shape[1])
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return _mean_f1(new) - _mean_f1(old), float(low), float(high)


def _counts(runs: Sequence[Evaluation], task: str) -> np.ndarray:
    """Counts as an array (seeds, posts, 2): correct, and predicted plus gold."""
    return np.array([[(c[task].correct, c[task].predicted + c[task].gold) for c in e.counts] for e in runs])


def _draws(seeds: int, posts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(rng.integers(0, seeds, seeds), rng.integers(0, posts, posts)) for _ in range(RESAMPLES)]


def _mean_f1(counts: np.ndarray) -> float:
    sums = counts.sum(axis=1)
    return float(np.mean(np.where(sums[:, 1] == 0, 100.0, 200.0 * sums[:, 0] / np.maximum(sums[:, 1], 1))))


def table(results: Mapping[str, Sequence[Evaluation]], title: str, posts: Sequence[Post], base: str) -> str:
    """Format a Markdown table: GMNER F1 over all posts and by slice, the gain over an arm, and the other figures.

    Args:
        results: Arm -> one evaluation per seed.
        title: Heading of the first column.
        posts: The scored posts.
        base: The arm over which gains are given.
    """
    groups = {"GMNER F1": list(range(len(posts)))}
    for name in sorted({post.slice for post in posts if post.slice and post.gold}):
        groups[name] = [index for index, post in enumerate(posts) if post.slice == name]
    rows = [[title, *results], ["---"] * (1 + len(results))]
    for name, indices in groups.items():
        cells = (interval(f1_with_interval(runs, indices)) for runs in results.values())
        rows.append([f"{name} ({len(indices)} posts)", *cells])
    rows.append(["each seed", *(", ".join(f"{e.gmner.f1:.1f}" for e in runs) for runs in results.values())])
    spread = (f"{np.std([e.gmner.f1 for e in runs], ddof=1):.1f}" if runs[1:] else "-" for runs in results.values())
    rows.append(["standard deviation over seeds", *spread])
    gains = (interval(gain_with_interval(runs, results[base])) for runs in results.values())
    rows.append([f"gain in GMNER F1 over {base}", *gains])
    for name, figure in FIGURES.items():
        values = [[figure(e) for e in runs] for runs in results.values()]
        rows.append([name, *(f"{np.mean(row):.1f} ({min(row):.1f} to {max(row):.1f})" for row in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def interval(values: tuple[float, float, float]) -> str:
    """A figure with its interval."""
    return "{:.1f} ({:.1f} to {:.1f})".format(*values)


def plot(results: Mapping[str, Sequence[Evaluation]]) -> str:
    """Draw an SVG with one bar per arm: GMNER F1 with its interval, and a dot for entities boxed if not shown."""
    left, width, height, step = 150, 420, 22, 34
    lines = []
    for row, (arm, runs) in enumerate(results.items()):
        mean, low, high = f1_with_interval(runs, range(runs[0].posts))
        boxed = float(np.mean([e.boxed_of_absent or 0.0 for e in runs]))
        top, scale = 36 + row * step, width / 100
        middle = top + height / 2
        lines += [
            f'<text x="{left - 8}" y="{middle + 4:.0f}" text-anchor="end">{arm}</text>',
            f'<rect x="{left}" y="{top}" width="{mean * scale:.1f}" height="{height}" fill="#2d5fdc"/>',
            f'<line x1="{left + low * scale:.1f}" x2="{left + high * scale:.1f}" y1="{middle}" y2="{middle}" '
            'stroke="#10204a" stroke-width="2"/>',
            f'<circle cx="{left + boxed * scale:.1f}" cy="{middle}" r="5" fill="#e0731d"/>',
            f'<text x="{left + width + 8}" y="{middle + 4:.0f}">{mean:.1f}</text>',
        ]
    bottom = 36 + len(results) * step
    style = 'font-family="sans-serif" font-size="12" fill="#2a2f3a"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 60} {bottom + 8}" {style}>',
            f'<rect width="{left + width + 60}" height="{bottom + 8}" fill="white"/>',
            f'<text x="{left}" y="18">bar: GMNER F1 with its 95 % interval; dot: boxed if not shown, %</text>',
            *lines,
            "</svg>\n",
        ]
    )
