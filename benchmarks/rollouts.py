"""How fast CVO samples beside the engine itself: completions a second of the same prompts, schemas and temperature.

    python benchmarks/rollouts.py

Both sample eight answers to each of eight posts of the world at once, with the embedded model, in turns within one run.
The figure is the median of the rounds; the ratio is CVO's rate by that of `batch_posts`.
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
    """Completions a second of one step's rollouts; what is learned from them is not in the time."""
    seconds: list[float] = []
    generate = ConstrainedGRPOTrainer._generate

    def timed(trainer: Any, prompts: list[Any]) -> Any:
        start = perf_counter()
        found = generate(trainer, prompts)
        seconds.append(perf_counter() - start)
        return found

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
    """Completions a second of the program on the same posts, each as often as CVO asks it."""
    asked = [post for post in posts for _ in range(GENERATIONS)]
    start = perf_counter()
    program.batch_posts(asked, progress=False)
    return len(asked) / (perf_counter() - start)


def main() -> int:
    """Print both rates and their ratio; exit status 1 where the ratio is lower than asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-least", type=float, default=0.0, metavar="RATIO")
    args = parser.parse_args()
    program = GMNER(lm=load_vlm(max_batch=PROMPTS * GENERATIONS, temperature=CVO().temperature, cache=False))
    posts = World().posts("train", PROMPTS)
    answered(program, posts)  # grammars are compiled once
    pairs = [(sampled(program, posts), answered(program, posts)) for _ in range(args.rounds)]
    ratio = median(ours / engine for ours, engine in pairs)
    for name, rates in zip(("rollouts of CVO", "batch_posts"), zip(*pairs, strict=True), strict=True):
        sys.stdout.write(f"{name:<18}{median(rates):>8.1f} completions a second\n")
    sys.stdout.write(f"ratio             {ratio:>8.2f}\n")
    return int(ratio < args.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
