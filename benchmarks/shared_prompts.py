"""Compares the training speed of CVO with shared prompts to that of TRL, which repeats the prompt for each answer.

    python benchmarks/shared_prompts.py

Both train on the same rollouts of the embedded model with LoRA: eight answers to each of four posts of the world. They
are measured alternately in one run, without sampling. The ratio is the time of TRL divided by that of shared prompts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from gmner.data.world.generate import World
from gmner.optimizers.cvo import CVO
from gmner.optimizers.training.grpo import ConstrainedGRPOTrainer
from gmner.optimizers.training.program_calls import answer_calls
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm


def learned(trainer: Any, inputs: Any) -> float:
    """Seconds for the loss and the gradients of a batch."""
    start = perf_counter()
    trainer.accelerator.backward(trainer.compute_loss(trainer.model, inputs))
    seconds = perf_counter() - start
    trainer.model.zero_grad()
    return seconds


def main() -> int:
    """Print both times and their ratio; exit status 1 if the ratio is below `--at-least`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-least", type=float, default=0.0, metavar="RATIO")
    args = parser.parse_args()
    program, settings = GMNER(lm=load_vlm(cache=False)), CVO(max_steps=1, redraws=0)
    posts = World().posts("train", settings.prompts)
    rows = settings.rows(answer_calls(posts, program.answer.signature, []), program.adapter())
    seconds: dict[bool, list[float]] = {True: [], False: []}

    def step(trainer: Any, model: Any, inputs: Any, items: Any) -> Any:
        prepared = trainer._prepare_inputs(inputs)
        for _ in range(1 + args.rounds):
            for shared in seconds:
                trainer._shares = shared
                seconds[shared].append(learned(trainer, prepared))
        return trainer.compute_loss(model, prepared).detach()

    ConstrainedGRPOTrainer.training_step = step  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        settings.optimize(rows, program.model.engine, program.adapter(), Path(folder), seed=0, progress=False)
    ours, theirs = (seconds[shared][1:] for shared in (True, False))  # the first one is a warm-up
    ratio = median(alone / together for alone, together in zip(theirs, ours, strict=True))
    for name, values in {"repeated prompts": theirs, "shared prompts": ours}.items():
        sys.stdout.write(f"{name:<18}{median(values):>8.2f} s\n")
    sys.stdout.write(f"ratio             {ratio:>8.2f}\n")
    return int(ratio < args.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
