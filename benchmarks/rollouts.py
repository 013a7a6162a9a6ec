"""Compares the sampling speed of CVO with that of `batch_posts`, for the same prompts, schemas and temperature.

    python benchmarks/rollouts.py

Both sample eight answers to each of eight posts of the world with the embedded model, alternately in one run. Prints
the medians of the rounds in completions per second, and the ratio of CVO to `batch_posts`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.optimizers.cvo import CVO
from gmner.optimizers.training.grpo import ConstrainedGRPOTrainer
from gmner.optimizers.training.program_calls import answer_calls
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm

PROMPTS, GENERATIONS = 8, 8


def sampled(program: GMNER, posts: list[Post]) -> float:
    """Completions per second of the rollouts of one step, without training."""
    seconds: list[float] = []
    generate = ConstrainedGRPOTrainer._generate

    def timed(trainer: Any, prompts: list[Any]) -> Any:
        start = perf_counter()
        rollouts = generate(trainer, prompts)
        seconds.append(perf_counter() - start)
        return rollouts

    settings = CVO(max_steps=1, prompts=PROMPTS, generations=GENERATIONS, redraws=0)
    rows = settings.rows(answer_calls(posts, program.answer.signature, []), program.adapter())
    ConstrainedGRPOTrainer._generate = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings.optimize(rows, program.model.engine, program.adapter(), Path(folder), seed=0, progress=False)
    finally:
        ConstrainedGRPOTrainer._generate = generate  # type: ignore[method-assign]
    return PROMPTS * GENERATIONS / sum(seconds)


def answered(program: GMNER, posts: list[Post]) -> float:
    """Completions per second of `batch_posts` on the same posts, with the same number of answers per post."""
    repeated_posts = [post for post in posts for _ in range(GENERATIONS)]
    start = perf_counter()
    program.batch_posts(repeated_posts, progress=False)
    return len(repeated_posts) / (perf_counter() - start)


def main() -> int:
    """Print both rates and their ratio; exit status 1 if the ratio is below `--at-least`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-least", type=float, default=0.0, metavar="RATIO")
    args = parser.parse_args()
    program = GMNER(lm=load_vlm(max_batch=PROMPTS * GENERATIONS, temperature=CVO().temperature, cache=False))
    posts = World().posts("train", PROMPTS)
    answered(program, posts)  # compiles the grammars
    pairs = [(sampled(program, posts), answered(program, posts)) for _ in range(args.rounds)]
    ratio = median(ours / engine for ours, engine in pairs)
    for name, rates in zip(("rollouts of CVO", "batch_posts"), zip(*pairs, strict=True), strict=True):
        sys.stdout.write(f"{name:<18}{median(rates):>8.1f} completions per second\n")
    sys.stdout.write(f"ratio             {ratio:>8.2f}\n")
    return int(ratio < args.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
