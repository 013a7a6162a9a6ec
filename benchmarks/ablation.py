"""MCR and its ablations on the world, beside what people try first: the form of the paper's main and ablation tables.

Every trained arm sees the same posts for the same number of optimizer steps; where both stages run they share the
steps. Runs are kept in the work folder: a stopped benchmark goes on where it was.

    python benchmarks/ablation.py --work runs/ablation                      # all arms, three seeds
    python benchmarks/ablation.py --work runs/ablation --arms SFT MRSI MCR --seeds 1
    python benchmarks/ablation.py --work runs/ablation --markdown --plot runs/ablation/ablation.svg

Arms: `direct`, the embedded model as it is; `reasoning prompt`, asked to reason in words of its own; `few-shot`, four
answered posts in the prompt; `SFT`, trained on answers alone; `MRSI`, on chains in all styles and answers; `MRSI one
style`; `MRSI mixed`, a chain that looks at the picture first and the answer alone, for each post; `CVO`, the rewards
alone; `MCR`, MRSI and then CVO, `MCR one style`, `MCR mixed`; `MCR before CVO`, `MCR mixed before CVO`, the same runs
when MRSI ends.
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
    """Of the posts without an entity the share that is answered with none; their F1 says only whether it is all."""
    empty = [counts["gmner"] for counts in evaluation.counts if not counts["gmner"].gold]
    return 100 * sum(not count.predicted for count in empty) / len(empty) if empty else float("nan")


FIGURES: Mapping[str, Callable[[Evaluation], float]] = {
    "MNER F1": lambda e: e.mner.f1,
    "found of shown, %": lambda e: e.found_of_shown or 0.0,
    "boxed of absent, %": lambda e: e.boxed_of_absent or 0.0,
    "N-F1": lambda e: e.bias.n_f1 or 0.0,
    "grounded absent": lambda e: float(e.bias.grounded_absent or 0),
    "  on lookalike posts": lambda e: float(e.by_slice["lookalike"].bias.grounded_absent or 0),
    "N-Rate, %": lambda e: e.bias.n_rate or 0.0,
    "nothing named where nothing is, %": left_empty,
}


@dataclass(frozen=True)
class Run:
    """What one arm with one seed is given.

    Attributes:
        program: The embedded program, untrained.
        train: Posts to learn from.
        steps: Optimizer steps of all stages together.
        seed: Seed of split, chains, order and sampling.
        folder: Where the compile keeps what it makes.
        share: Of MCR's steps those of MRSI, the others are CVO's.
        sft_rate: Learning rate of training on answers alone.
        cvo: Settings of CVO that are not the usual ones here.
        learnable: Answers a post by which CVO leaves out what it cannot learn from, see `MCR`; None: it takes all.
        d1_share: The posts of MCR's MRSI, see `MCR`.
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
    """The embedded model without any change."""
    return run.program


def prompted(run: Run) -> GMNER:
    """Asked to reason first, in words that the model was not trained on."""
    run.program.answer.signature = run.program.answer.signature.with_instructions(PROMPT)
    return run.program


def shown(run: Run) -> GMNER:
    """Four answered posts in the prompt, by DSPy's own optimizer."""
    examples = [to_example(post) for post in run.train[4 * run.seed : 4 * run.seed + 4]]
    program = dspy.LabeledFewShot(k=4).compile(run.program, trainset=examples)
    program.set_lm(run.program.model)  # DSPy's copy has none
    return program


def trained(run: Run, *, styles: Mapping[str, Style] | None, injected: float | None = None) -> GMNER:
    """Compiled: `injected` of the steps (None: the run's share) for MRSI in these styles, the others for CVO."""
    first = round(run.steps * (run.share if injected is None else injected))
    mrsi = cvo = None
    if first and styles:
        per_post = min(2, len(styles))
        rate = run.sft_rate if set(styles) == {"plain"} else 4e-4 if "plain" in styles else 1e-3
        mrsi = MRSI(styles=dict(styles), per_post=per_post, answers=False, max_steps=first, batch=16, rate=rate)
    if first < run.steps:
        cvo = CVO(max_steps=run.steps - first, **{**CVO_SETTINGS, **run.cvo})
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
    """Make and answer one arm with one seed, or read what it answered before."""
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


def f1_with_interval(runs: Sequence[Evaluation], kept: Sequence[int]) -> tuple[float, float, float]:
    """Mean GMNER F1 over seeds, and its 95 % interval: posts and seeds drawn with replacement.

    Args:
        runs: One evaluation a seed, on the same posts.
        kept: Places of the posts that count.
    """
    counts = _counts(runs)[:, kept]
    draws = [_mean_f1(counts[seeds][:, posts]) for seeds, posts in _draws(len(runs), len(kept))]
    low, high = np.percentile(draws, [2.5, 97.5])
    return _mean_f1(counts), float(low), float(high)


def gain_with_interval(runs: Sequence[Evaluation], base: Sequence[Evaluation]) -> tuple[float, float, float]:
    """Mean gain in GMNER F1 over another arm, and its 95 % interval over the same posts and seeds."""
    new, old = _counts(runs), _counts(base)
    seeds = max(len(new), len(old))  # an arm without seeds answers every time the same
    new, old = (np.repeat(c, seeds, axis=0) if len(c) == 1 else c for c in (new, old))
    draws = [
        _mean_f1(new[drawn][:, posts]) - _mean_f1(old[drawn][:, posts]) for drawn, posts in _draws(seeds, new.shape[1])
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return _mean_f1(new) - _mean_f1(old), float(low), float(high)


def _counts(runs: Sequence[Evaluation]) -> np.ndarray:
    """(seeds, posts, 2): what is right, and what is predicted or gold."""
    return np.array([[(c["gmner"].correct, c["gmner"].predicted + c["gmner"].gold) for c in e.counts] for e in runs])


def _draws(seeds: int, posts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(rng.integers(0, seeds, seeds), rng.integers(0, posts, posts)) for _ in range(RESAMPLES)]


def _mean_f1(counts: np.ndarray) -> float:
    sums = counts.sum(axis=1)
    return float(np.mean(np.where(sums[:, 1] == 0, 100.0, 200.0 * sums[:, 0] / np.maximum(sums[:, 1], 1))))


def table(results: Mapping[str, Sequence[Evaluation]], posts: Sequence[Post], *, markdown: bool) -> str:
    """GMNER F1 over all posts and by slice with intervals, the gain over SFT, the other figures with their range."""
    slices = sorted({post.slice for post in posts if post.slice and post.gold})
    groups = {"GMNER F1": list(range(len(posts)))}
    for name in slices:
        groups[f"  {name}"] = [place for place, post in enumerate(posts) if post.slice == name]
    rows = [["", *results]]
    for name, kept in groups.items():
        cells = (_interval(f1_with_interval(runs, kept)) for runs in results.values())
        rows.append([f"{name} ({len(kept)} posts)", *cells])
    for base in ("SFT", "MRSI", "MRSI mixed", *BEFORE):
        if base in results:
            gains = (_interval(gain_with_interval(runs, results[base])) for runs in results.values())
            rows.append([f"GMNER F1 less that of {base}", *gains])
    for name, figure in FIGURES.items():
        values = [[figure(e) for e in runs] for runs in results.values()]
        rows.append([name, *(f"{np.mean(v):.1f} ({min(v):.1f} to {max(v):.1f})" for v in values)])
    if markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        return "\n".join(f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows)
    return "\n".join(row[0].ljust(28) + "".join(cell.rjust(24) for cell in row[1:]) for row in rows)


def _interval(values: tuple[float, float, float]) -> str:
    return "{:.1f} ({:.1f} to {:.1f})".format(*values)


def plot(results: Mapping[str, Sequence[Evaluation]]) -> str:
    """SVG: a bar an arm, GMNER F1 with its interval, and the share of absent things that are boxed as a dot."""
    left, width, height, step = 150, 420, 22, 34
    lines = []
    for place, (arm, runs) in enumerate(results.items()):
        mean, low, high = f1_with_interval(runs, range(runs[0].posts))
        boxed = float(np.mean([e.boxed_of_absent or 0.0 for e in runs]))
        top, scale = 36 + place * step, width / 100
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
            f'<text x="{left}" y="18">bar: GMNER F1 with its 95 % interval; dot: boxed of what is not shown, %</text>',
            *lines,
            "</svg>\n",
        ]
    )


def main() -> None:
    """Run what is missing, and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=240, help="optimizer steps of every trained arm")
    parser.add_argument("--share", type=float, default=2 / 3, help="of MCR's steps those of MRSI")
    parser.add_argument("--sft-rate", type=float, default=3e-4, help="learning rate of training on answers alone")
    parser.add_argument("--cvo", type=json.loads, default={}, metavar="JSON", help="other settings of CVO")
    parser.add_argument(
        "--learnable",
        type=int,
        default=2,
        metavar="N",
        help="CVO leaves out what N answers find always the same; 0: none",
    )
    parser.add_argument("--d1-share", type=float, default=1.0, help="posts of MCR's MRSI; 1: all, for both stages")
    parser.add_argument("--posts", type=int, default=1000, help="training posts")
    parser.add_argument("--test", type=int, default=600, help="held-out posts")
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, *BEFORE], default=[*ARMS, *BEFORE], help="only these")
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
