"""Answer-only tuning, one style and all template styles, at equal training steps, on held-out posts of the world.

Every run trains the embedded model on the same posts for the same number of optimizer steps of the same batch; only the
chains differ. Runs are kept in the work folder: a stopped benchmark goes on where it was.

    python benchmarks/mrsi.py --work runs/mrsi-arms                 # three arms, three seeds
    python benchmarks/mrsi.py --work runs/mrsi-arms --markdown
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from gmner.data.evaluate import evaluate
from gmner.data.evaluation import Evaluation
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.styles import TEMPLATES, Style, plain
from gmner.programs.gmner import GMNER
from gmner.programs.loading import load_vlm

ARMS: Mapping[str, Mapping[str, Style]] = {
    "answer only": {"plain": plain},
    "one style": {"stepwise": TEMPLATES["stepwise"]},
    "all styles": dict(TEMPLATES),
}
RESAMPLES = 1000
FIGURES: Mapping[str, Callable[[Evaluation], float]] = {
    "MNER F1": lambda e: e.mner.f1,
    "found of shown, %": lambda e: e.found_of_shown or 0.0,
    "boxed of absent, %": lambda e: e.boxed_of_absent or 0.0,
    "N-F1": lambda e: e.bias.n_f1 or 0.0,
    "grounded absent": lambda e: float(e.bias.grounded_absent or 0),
    "N-Rate, %": lambda e: e.bias.n_rate or 0.0,
}


def run(arm: str, seed: int, args: argparse.Namespace) -> Evaluation:
    """Train and answer one arm with one seed, or read what it answered before."""
    world, folder = World(), args.work / f"{arm.replace(' ', '-')}-{seed}"
    train, test = world.posts("train", args.posts), world.posts("test", args.test)
    answers = folder / "answers.jsonl"
    if not answers.is_file():
        styles = dict(ARMS[arm])
        mrsi = MRSI(styles=styles, per_post=min(2, len(styles)), max_steps=args.steps, batch=16, rate=6e-4)
        program = GMNER(lm=load_vlm(max_batch=32, cache=False))
        optimizer = MCR(mrsi=mrsi, cvo=None, seed=seed)
        compiled = program.compile(trainset=train, optimizer=optimizer, run_dir=folder / "run")
        write_predictions(compiled.batch_posts(test, threads=64), answers)
    return evaluate(read_predictions(answers), test)


def before(args: argparse.Namespace) -> Evaluation:
    """The embedded model as it is."""
    test, answers = World().posts("test", args.test), args.work / "before.jsonl"
    if not answers.is_file():
        program = GMNER(lm=load_vlm(max_batch=32, cache=False))
        write_predictions(program.batch_posts(test, threads=64), answers)
    return evaluate(read_predictions(answers), test)


def f1_with_interval(runs: Sequence[Evaluation], kept: Sequence[int]) -> tuple[float, float, float]:
    """Mean GMNER F1 over seeds, and its 95 % interval: posts and seeds drawn with replacement.

    Args:
        runs: One evaluation a seed, on the same posts.
        kept: Places of the posts that count.
    """
    counts = np.array([[(c["gmner"].correct, c["gmner"].predicted + c["gmner"].gold) for c in e.counts] for e in runs])[
        :, kept
    ]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(RESAMPLES):
        seeds, posts = rng.integers(0, len(runs), len(runs)), rng.integers(0, len(kept), len(kept))
        draws.append(_mean_f1(counts[seeds][:, posts]))
    low, high = np.percentile(draws, [2.5, 97.5])
    return _mean_f1(counts), float(low), float(high)


def _mean_f1(counts: np.ndarray) -> float:
    sums = counts.sum(axis=1)
    return float(np.mean(np.where(sums[:, 1] == 0, 100.0, 200.0 * sums[:, 0] / np.maximum(sums[:, 1], 1))))


def table(results: Mapping[str, Sequence[Evaluation]], posts: Sequence[Post], *, markdown: bool) -> str:
    """GMNER F1 over all posts and by slice with intervals, and the other figures with their range over seeds."""
    slices = sorted({post.slice for post in posts if post.slice})
    groups = {"GMNER F1": list(range(len(posts)))}
    for name in slices:
        groups[f"  {name}"] = [place for place, post in enumerate(posts) if post.slice == name]
    rows = [["", *results]]
    for name, kept in groups.items():
        cells = ("{:.1f} ({:.1f} to {:.1f})".format(*f1_with_interval(runs, kept)) for runs in results.values())
        rows.append([f"{name} ({len(kept)} posts)", *cells])
    for name, figure in FIGURES.items():
        values = [[figure(e) for e in runs] for runs in results.values()]
        rows.append([name, *(f"{np.mean(v):.1f} ({min(v):.1f} to {max(v):.1f})" for v in values)])
    if markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        return "\n".join(f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows)
    return "\n".join(row[0].ljust(28) + "".join(cell.rjust(24) for cell in row[1:]) for row in rows)


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/mrsi-arms"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps of every run")
    parser.add_argument("--posts", type=int, default=1200, help="training posts")
    parser.add_argument("--test", type=int, default=300, help="held-out posts")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="only these")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Evaluation]] = {"before": [before(args)]}
    for seed in range(args.seeds):
        for arm in args.arms:
            results.setdefault(arm, []).append(run(arm, seed, args))
    sys.stdout.write(table(results, World().posts("test", args.test), markdown=args.markdown) + "\n")


if __name__ == "__main__":
    main()
