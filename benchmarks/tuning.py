"""Runs the experiments that were used to tune CVO on the world, with one seed each, scored on dev posts.

    python benchmarks/tuning.py --work runs/tuning                       # all runs; takes hours on two cores
    python benchmarks/tuning.py --work runs/tuning MRSI-120 CVO-40-none  # some runs; CVO runs start from MRSI-120
    python benchmarks/tuning.py --work runs/tuning --split test MRSI-240 MRSI-120 CVO-140-none  # runs chosen on dev

The last column is the gain in GMNER F1 over the first run, with its paired 95 % interval over the posts.

Runs are kept in the work folder: a stopped run resumes, and finished runs are reused.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation
from gmner.data.scoring.resampling import compare
from gmner.data.world.generate import World
from gmner.optimizers.chains.styles import TEMPLATES, Facts, Style, plain
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.rewards import DEFAULT_WEIGHTS, cvo
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm

BASE = "MRSI-120"
TRAIN_POSTS = 1000
COLUMNS = (
    "run", "GMNER", "MNER", "found", "boxed", "N-F1", "grounded absent", "chains, %", "gain in GMNER F1 over the first"
)  # fmt: skip
_NONE = {"scale_rewards": "none"}
_WEIGHTS = {**DEFAULT_WEIGHTS, "entailment": 1.0}
_HARD = {reward: _WEIGHTS[reward.name] for reward in cvo(soft=False)}
_SELECTING = {"rate": 5e-4, "tuning": "lora", "temperature": 0.8, "grpo_options": _NONE}


def any_style(facts: Facts, rng: random.Random) -> str:
    """A chain in a random style of the seven."""
    return rng.choice(list(TEMPLATES.values()))(facts, rng)


ANSWERS = {"plain": plain}
BOTH = {"any": any_style, "plain": plain}
PICTURE_FIRST = {"picture_first": TEMPLATES["picture_first"], "plain": plain}


@dataclass(frozen=True)
class Injected:
    """SFT on answers only; MRSI with two chains per post; or MRSI with a chain and the answer only for each post."""

    steps: int
    rate: float = 1e-3
    styles: Mapping[str, Style] = field(default_factory=lambda: dict(TEMPLATES))
    seed: int = 0

    def optimizer(self) -> MCR:
        """An optimizer with this stage only, on all posts."""
        per_post = min(2, len(self.styles))
        styles = dict(self.styles)
        mrsi = MRSI(styles=styles, per_post=per_post, answers=False, max_steps=self.steps, batch=16, rate=self.rate)
        return MCR(mrsi=mrsi, cvo=None, holdout=0, seed=self.seed)


@dataclass(frozen=True)
class Optimized:
    """CVO, starting from the weights of another run."""

    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)
    base: str = BASE
    learnable: int | None = None

    def optimizer(self) -> MCR:
        """An optimizer with this stage only, on all posts."""
        defaults: dict[str, Any] = {
            "prompts": 4, "generations": 8, "redraws": 0, "max_completion_length": 256, "rate": 1e-4, "tuning": "full",
            "temperature": 1.0, "rollouts": "constrained", "rewards": _WEIGHTS,
        }  # fmt: skip
        options = dict(self.options)
        defaults["scale_rewards"] = options.get("grpo_options", {}).get("scale_rewards", "group")
        cvo = CVO(max_steps=self.steps, **{**defaults, **options})
        return MCR(mrsi=None, cvo=cvo, holdout=0, learnable_answers=self.learnable)


RUNS: Mapping[str, Injected | Optimized] = {
    "SFT-120-3e-4": Injected(120, 3e-4, ANSWERS),
    "SFT-120-2e-3": Injected(120, 2e-3, ANSWERS),
    "SFT-360-3e-4": Injected(360, 3e-4, ANSWERS),
    "SFT-360-3e-4-seed-1": Injected(360, 3e-4, ANSWERS, seed=1),
    "MRSI-360-1e-3": Injected(360),
    "MRSI-360-4e-4": Injected(360, 4e-4),
    "MRSI-360-4e-4-any-and-answers": Injected(360, 4e-4, BOTH),
    "mixed-360": Injected(360, 4e-4, PICTURE_FIRST),
    "mixed-360-seed-1": Injected(360, 4e-4, PICTURE_FIRST, seed=1),
    "mixed-240": Injected(240, 4e-4, PICTURE_FIRST),
    "mixed-240-CVO-120": Optimized(120, _SELECTING, "mixed-240", learnable=2),
    "mixed-240-seed-1": Injected(240, 4e-4, PICTURE_FIRST, seed=1),
    "mixed-160": Injected(160, 4e-4, PICTURE_FIRST),
    "mixed-160-CVO-80": Optimized(80, _SELECTING, "mixed-160", learnable=2),
    "SFT-240-3e-4": Injected(240, 3e-4, ANSWERS),
    "SFT-240-3e-4-seed-1": Injected(240, 3e-4, ANSWERS, seed=1),
    BASE: Injected(120),
    "MRSI-240": Injected(240),
    "CVO-40-none": Optimized(40, {"grpo_options": _NONE}),
    "CVO-40-hard": Optimized(40, {"rewards": _HARD}),
    "CVO-40-hard-8x4": Optimized(
        40,
        {
            "rate": 1.5e-4,
            "rewards": _HARD,
            "prompts": 8,
            "generations": 4,
            "grpo_options": {"scale_rewards": "batch"},
        },
    ),
    "CVO-40-lora-1e-3": Optimized(40, {"rate": 1e-3, "tuning": "lora"}),
    "CVO-40-lora-3e-4": Optimized(40, {"rate": 3e-4, "tuning": "lora"}),
    "CVO-160-lora-none": Optimized(160, {"rate": 5e-4, "tuning": "lora", "temperature": 0.8, "grpo_options": _NONE}),
    "CVO-140-none": Optimized(140, {"rate": 7e-5, "temperature": 0.8, "grpo_options": _NONE}),
    "CVO-100-none-after-240": Optimized(100, {"rate": 7e-5, "temperature": 0.8, "grpo_options": _NONE}, "MRSI-240"),
}


def measured(name: str, work: Path, split: str, posts: int) -> Evaluation:
    """Compile and score one run, or score the predictions of an earlier run."""
    run, scored_posts = RUNS[name], World().posts(split, posts)
    answers = work / name / f"{split}-{posts}.jsonl"
    if not answers.is_file():
        weights = work / run.base / "mrsi" if isinstance(run, Optimized) else None
        program = GMNER(lm=load_vlm(weights, max_batch=32, cache=False))
        train = World().posts("train", TRAIN_POSTS)
        better = program.compile(trainset=train, optimizer=run.optimizer(), run_dir=work / name)
        write_predictions(better.batch_posts(scored_posts), answers)
    return evaluate(read_predictions(answers), scored_posts, progress=False)


def main() -> None:
    """Run the missing experiments, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", choices=[*RUNS, []], help="runs to include")
    parser.add_argument("--work", type=Path, default=Path("runs/tuning"), help="folder of the runs")
    parser.add_argument("--split", default="dev", choices=("dev", "test"))
    parser.add_argument("--posts", type=int, default=300, help="number of posts to score")
    args = parser.parse_args()
    sys.stdout.write("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS) + "\n")
    first: Evaluation | None = None
    for name in args.runs or RUNS:
        scores = measured(name, args.work, args.split, args.posts)
        first = first or scores
        gain = compare(first, scores).tasks["gmner"]
        bias = scores.bias
        figures = [scores.gmner.f1, scores.mner.f1, scores.found_of_shown, scores.boxed_of_absent, bias.n_f1]
        chains = 100 * sum(bool(answer.reasoning) for answer in scores.predictions) / scores.posts
        cells = [name, *(f"{figure or 0.0:.1f}" for figure in figures), str(bias.grounded_absent), f"{chains:.0f}"]
        sys.stdout.write(f"| {' | '.join(cells)} | {gain.difference:+.1f} ({gain.low:.1f} to {gain.high:.1f}) |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
