"""Compares CVO with a plain TRL script that does the same work with the same model: seconds per step.

    python benchmarks/overhead.py

Both sample answers to the same prompts of the world with the embedded model, use the same rewards and batch size, train
all weights, and are measured alternately in one process. The training time is that reported by TRL, without loading.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import mean, median

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, PrinterCallback, set_seed
from trl import GRPOConfig, GRPOTrainer

from gmner.data.world.generate import World
from gmner.optimizers import rewards
from gmner.optimizers.cvo import CVO
from gmner.optimizers.training.program_calls import answer_calls
from gmner.optimizers.training.trainable import quiet_libraries
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.processors import load_processor

PROMPTS, GENERATIONS, LENGTH, RATE = 4, 4, 64, 1e-5


def bare(rows: Dataset, program: GMNER, folder: Path, steps: int) -> list[dict[str, float]]:
    """Train with TRL as in its documentation, and return the log."""
    path, box_format = program.model.engine.path, program.adapter().profile.box_format
    set_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
    processor = load_processor(path, model.config.model_type)
    processor.tokenizer.padding_side = "left"
    args = GRPOConfig(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=PROMPTS * GENERATIONS,
        num_generations=GENERATIONS, max_completion_length=LENGTH, learning_rate=RATE, use_cpu=True, bf16=False,
        gradient_checkpointing=False, dataloader_pin_memory=False, save_steps=steps, report_to=[], disable_tqdm=True,
        logging_steps=1, seed=0, reward_weights=list(rewards.DEFAULT_WEIGHTS.values()),
    )  # fmt: skip
    functions = rewards.cvo(program.labels, box_format)
    trainer = GRPOTrainer(
        model=model, args=args, train_dataset=rows, processing_class=processor, reward_funcs=functions
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.state.log_history


def ours(rows: Dataset, program: GMNER, folder: Path, steps: int) -> list[dict[str, float]]:
    """Train with CVO, and return the log."""
    cvo = CVO(
        max_steps=steps, prompts=PROMPTS, generations=GENERATIONS, max_completion_length=LENGTH, rate=RATE,
        tuning="full", rollouts="free", temperature=1.0, scale_rewards="group", redraws=0,
    )  # fmt: skip
    return cvo.optimize(rows, program.model.engine, program.adapter(), folder, seed=0, progress=False)


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements per variant")
    args = parser.parse_args()
    program = GMNER(lm=load_vlm(cache=False))
    posts = World().posts("train", PROMPTS * args.steps)
    cvo = CVO(prompts=PROMPTS, generations=GENERATIONS, rollouts="free")
    rows = cvo.rows(answer_calls(posts, program.answer.signature, []), program.adapter())
    times: dict[str, list[float]] = {"bare TRL": [], "CVO": []}
    lengths: dict[str, list[float]] = {name: [] for name in times}
    for turn in range(2 * args.rounds + 1):
        name, side = ("bare TRL", bare) if turn % 2 == 0 else ("CVO", ours)
        with tempfile.TemporaryDirectory() as folder, quiet_libraries():
            log = side(rows, program, Path(folder), args.steps)
        lengths[name] += [entry["completions/mean_length"] for entry in log if "completions/mean_length" in entry]
        if turn:  # the first run is a warm-up
            times[name].append(next(entry["train_runtime"] for entry in log if "train_runtime" in entry) / args.steps)
    for name, seconds in times.items():
        measured = ", ".join(f"{value:.2f}" for value in seconds)
        figures = (
            f"{median(seconds):.2f} s per step (median of {measured}), {mean(lengths[name]):.1f} tokens per answer"
        )
        sys.stdout.write(f"{name:10} {figures}\n")
    sys.stdout.write(f"CVO / bare TRL: {median(times['CVO']) / median(times['bare TRL']):.3f}\n")


if __name__ == "__main__":
    main()
