"""Compares MCR, its ablations and simple baselines on the world, as in the main and ablation tables of the paper.

Every trained arm uses the same posts and the same number of optimizer steps; if both stages run, they share the steps.
Runs are kept in the work folder; run the same command again to resume a stopped benchmark.

    python benchmarks/ablation.py --work runs/ablation                      # all arms, three seeds
    python benchmarks/ablation.py --work runs/ablation --arms SFT MRSI MCR --seeds 1
    python benchmarks/ablation.py --work runs/ablation --markdown --plot runs/ablation/ablation.svg

Arms:

    direct             the embedded model without changes
    reasoning prompt   instructions to reason step by step
    few-shot           four annotated posts in the prompt
    SFT                trained on answers only
    MRSI               trained on chains in all styles and answers
    MRSI one style     trained on chains in the style `picture_first`
    MRSI mixed         trained on a chain in the style `picture_first` and on the answer only, for each post
    CVO                trained with the rewards only
    MCR                MRSI, then CVO; also `MCR one style` and `MCR mixed`
    MCR before CVO     the run `MCR` after MRSI; also `MCR mixed before CVO`
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import numpy as np

from gmner.data.files.atomic import whole_text
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.post import Post
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation
from gmner.data.scoring.metric import to_example
from gmner.data.world.generate import World
from gmner.optimizers.chains.styles import TEMPLATES, Style, plain
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.rewards import DEFAULT_WEIGHTS
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm

RESAMPLES = 1000
ONE_STYLE = {"picture_first": TEMPLATES["picture_first"]}
MIXED = {**ONE_STYLE, "plain": plain}
CVO_SETTINGS: Mapping[str, Any] = {
    "prompts": 4, "max_completion_length": 256, "rollouts": "constrained", "rate": 5e-4, "tuning": "lora",
    "temperature": 0.8, "redraws": 0, "grpo_options": {"scale_rewards": "none"},
    "rewards": {**DEFAULT_WEIGHTS, "entailment": 1.0},
}  # fmt: skip
PROMPT = "Think step by step: name what is in the post, say what the picture shows, compare, then answer."


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
    "  on lookalike posts": lambda e: float(e.by_slice["lookalike"].bias.grounded_absent or 0),
    "N-Rate, %": lambda e: e.bias.n_rate or 0.0,
    "empty posts answered correctly, %": left_empty,
}


@dataclass(frozen=True)
class Run:
    """The inputs of an arm with one seed.

    Attributes:
        program: The untrained program with the embedded model.
        train: The training posts.
        steps: Optimizer steps of all stages together.
        seed: Seed of split, chains, order and sampling.
        folder: The run directory.
        share: Share of MCR's steps for MRSI; CVO gets the others.
        sft_rate: Learning rate for training on answers only.
        cvo: Settings of CVO that override the defaults of this benchmark.
        learnable: `learnable_answers` of `MCR`; None: CVO uses all posts.
        d1_share: `d1_share` of `MCR`.
    """

    program: GMNER
    train: Sequence[Post]
    steps: int
    seed: int
    folder: Path
    share: float
    sft_rate: float
    cvo: Mapping[str, Any]
    learnable: int | None
    d1_share: float


def as_it_is(run: Run) -> GMNER:
    """The embedded model without changes."""
    return run.program


def prompted(run: Run) -> GMNER:
    """Instructions to reason first, with which the model was not trained."""
    run.program.answer.signature = run.program.answer.signature.with_instructions(PROMPT)
    return run.program


def shown(run: Run) -> GMNER:
    """Four annotated posts in the prompt, chosen by an optimizer of DSPy."""
    examples = [to_example(post) for post in run.train[4 * run.seed : 4 * run.seed + 4]]
    program = dspy.LabeledFewShot(k=4).compile(run.program, trainset=examples)
    program.set_lm(run.program.model)  # DSPy's copy has no model
    return program


def trained(run: Run, *, styles: Mapping[str, Style] | None, injected: float | None = None) -> GMNER:
    """Compile with MRSI in these styles for a share `injected` of the steps (default: `run.share`), then with CVO."""
    mrsi_steps = round(run.steps * (run.share if injected is None else injected))
    mrsi = cvo = None
    if mrsi_steps and styles:
        per_post = min(2, len(styles))
        rate = run.sft_rate if set(styles) == {"plain"} else 4e-4 if "plain" in styles else 1e-3
        mrsi = MRSI(styles=dict(styles), per_post=per_post, answers=False, max_steps=mrsi_steps, batch=16, rate=rate)
    if mrsi_steps < run.steps:
        cvo = CVO(max_steps=run.steps - mrsi_steps, **{**CVO_SETTINGS, **run.cvo})
    learnable = run.learnable if cvo else None
    optimizer = MCR(
        mrsi=mrsi, cvo=cvo, d1_share=run.d1_share, holdout=0, learnable_answers=learnable, seed=run.seed
    )  # fmt: skip
    return run.program.compile(trainset=run.train, optimizer=optimizer, run_dir=run.folder)


ARMS: Mapping[str, Callable[[Run], GMNER]] = {
    "direct": as_it_is,
    "reasoning prompt": prompted,
    "few-shot": shown,
    "SFT": partial(trained, styles={"plain": plain}, injected=1.0),
    "MRSI one style": partial(trained, styles=ONE_STYLE, injected=1.0),
    "MRSI": partial(trained, styles=TEMPLATES, injected=1.0),
    "CVO": partial(trained, styles=None, injected=0.0),
    "MCR one style": partial(trained, styles=ONE_STYLE),
    "MCR": partial(trained, styles=TEMPLATES),
    "MRSI mixed": partial(trained, styles=MIXED, injected=1.0),
    "MCR mixed": partial(trained, styles=MIXED),
}
BEFORE = {"MCR before CVO": "MCR", "MCR mixed before CVO": "MCR mixed"}
SEEDLESS = ("direct", "reasoning prompt")


def measured(arm: str, seed: int, args: argparse.Namespace) -> Evaluation:
    """Run one arm with one seed and score its predictions, or score the predictions of an earlier run."""
    name, file = BEFORE.get(arm, arm), "before.jsonl" if arm in BEFORE else "answers.jsonl"
    folder, test = args.work / f"{name.replace(' ', '-')}-{seed}", World().posts("test", args.test)
    if not (folder / file).is_file():
        train = World().posts("train", args.posts)
        run = Run(
            _untrained(), train, args.steps, seed, folder / "run", args.share, args.sft_rate, args.cvo,
            args.learnable or None, args.d1_share,
        )  # fmt: skip
        program = ARMS[name](run)
        if name in BEFORE.values():
            write_predictions(program.history.programs["mrsi"].batch_posts(test), folder / "before.jsonl")
        write_predictions(program.batch_posts(test), folder / "answers.jsonl")
    return evaluate(read_predictions(folder / file), test, progress=False)


def _untrained() -> GMNER:
    return GMNER(lm=load_vlm(max_batch=32, cache=False))


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


def table(results: Mapping[str, Sequence[Evaluation]], posts: Sequence[Post], *, markdown: bool) -> str:
    """Format GMNER F1 over all posts and by slice, the gain over other arms, and the other figures with their range."""
    slices = sorted({post.slice for post in posts if post.slice and post.gold})
    groups = {"GMNER F1": list(range(len(posts)))}
    for name in slices:
        groups[f"  {name}"] = [index for index, post in enumerate(posts) if post.slice == name]
    rows = [["", *results]]
    for name, indices in groups.items():
        cells = (_interval(f1_with_interval(runs, indices)) for runs in results.values())
        rows.append([f"{name} ({len(indices)} posts)", *cells])
    for base in ("SFT", "MRSI", "MRSI mixed", *BEFORE):
        if base in results:
            gains = (_interval(gain_with_interval(runs, results[base])) for runs in results.values())
            rows.append([f"gain in GMNER F1 over {base}", *gains])
    for name, figure in FIGURES.items():
        values = [[figure(e) for e in runs] for runs in results.values()]
        rows.append([name, *(f"{np.mean(row):.1f} ({min(row):.1f} to {max(row):.1f})" for row in values)])
    if markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        return "\n".join(f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows)
    return "\n".join(row[0].ljust(28) + "".join(cell.rjust(24) for cell in row[1:]) for row in rows)


def _interval(values: tuple[float, float, float]) -> str:
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


def main() -> None:
    """Run the missing arms, and write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=240, help="optimizer steps of every trained arm")
    parser.add_argument("--share", type=float, default=2 / 3, help="share of MCR's steps for MRSI")
    parser.add_argument("--sft-rate", type=float, default=3e-4, help="learning rate of SFT")
    parser.add_argument("--cvo", type=json.loads, default={}, metavar="JSON", help="settings of CVO")
    parser.add_argument(
        "--learnable",
        type=int,
        default=2,
        metavar="N",
        help="skip posts in CVO if N sampled answers are all equally good; 0: use all posts",
    )
    parser.add_argument(
        "--d1-share", type=float, default=1.0, help="share of the posts for MRSI in MCR; 1: both stages use all posts"
    )
    parser.add_argument("--posts", type=int, default=1000, help="training posts")
    parser.add_argument("--test", type=int, default=600, help="held-out posts")
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, *BEFORE], default=[*ARMS, *BEFORE], help="arms to run")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="SVG")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Evaluation]] = {arm: [] for arm in [*ARMS, *BEFORE] if arm in args.arms}
    for seed in range(args.seeds):
        for arm, runs in results.items():
            if seed == 0 or arm not in SEEDLESS:
                runs.append(measured(arm, seed, args))
    sys.stdout.write(table(results, World().posts("test", args.test), markdown=args.markdown) + "\n")
    if args.plot:
        with whole_text(args.plot) as file:
            file.write(plot(results))


if __name__ == "__main__":
    main()
