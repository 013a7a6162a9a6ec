"""Compares a stage of MCR with a plain TRL script that does the same work with the same model: seconds per step.

    python benchmarks/overhead.py                                    # CVO and GRPOTrainer, the embedded model
    python benchmarks/overhead.py --stage sft                        # MRSI and SFTTrainer
    python benchmarks/overhead.py --model runs/smollm2 --micro-batch 4 --stage sft   # see benchmarks/smollm2.py

Both train all weights on the same rows of the world with the same batch size, and are measured alternately in one
process. For CVO, both sample answers to the same prompts and use the same rewards. For MRSI, each post has two rows,
with chains in two styles. `--one-chain` leaves the second one out, so that no two rows have the same prompt. The
training time is that reported by TRL, without loading.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, PrinterCallback, set_seed
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from gmner.data.world.generate import World
from gmner.optimizers import rewards
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training.program_calls import answer_calls
from gmner.optimizers.training.rows import program_rows
from gmner.optimizers.training.trainable import quiet_libraries
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.processors import load_processor

PROMPTS, GENERATIONS, LENGTH, RATE = 4, 4, 64, 1e-5
BATCH = PROMPTS * GENERATIONS
STYLES = ("text_first", "table")

Log = list[dict[str, float]]
Side = Callable[[Dataset, GMNER, Path, int, int], Log]


def copy_of(program: GMNER) -> tuple[Any, Any]:
    """The model and the processor of a program, loaded again as in TRL's documentation."""
    set_seed(0)
    path = program.model.engine.path
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
    processor = load_processor(path, model.config.model_type)
    processor.tokenizer.padding_side = "left"
    return model, processor


def shared(folder: Path, steps: int, micro: int) -> dict[str, Any]:
    """Arguments of both configurations of TRL."""
    return {
        "output_dir": str(folder), "max_steps": steps, "learning_rate": RATE,
        "per_device_train_batch_size": micro, "gradient_accumulation_steps": BATCH // micro,
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False,
        "save_steps": steps, "report_to": [], "disable_tqdm": True, "logging_steps": 1, "seed": 0,
    }  # fmt: skip


def trained(trainer: Any) -> Log:
    """Train, and return the log."""
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.state.log_history


def bare_grpo(rows: Dataset, program: GMNER, folder: Path, steps: int, micro: int) -> Log:
    """Train with GRPOTrainer as in its documentation."""
    model, processor = copy_of(program)
    args = GRPOConfig(
        **shared(folder, steps, micro), num_generations=GENERATIONS, max_completion_length=LENGTH,
        reward_weights=list(rewards.DEFAULT_WEIGHTS.values()),
    )  # fmt: skip
    functions = rewards.cvo(program.labels, program.adapter().profile.box_format)
    return trained(
        GRPOTrainer(model=model, args=args, train_dataset=rows, processing_class=processor, reward_funcs=functions)
    )


def bare_sft(rows: Dataset, program: GMNER, folder: Path, steps: int, micro: int) -> Log:
    """Train with SFTTrainer as in its documentation."""
    model, processor = copy_of(program)
    args = SFTConfig(**shared(folder, steps, micro), max_length=None)
    return trained(SFTTrainer(model=model, args=args, train_dataset=rows, processing_class=processor))


def cvo(rows: Dataset, program: GMNER, folder: Path, steps: int, micro: int) -> Log:
    """Train with CVO."""
    settings = CVO(
        max_steps=steps, prompts=PROMPTS, generations=GENERATIONS, max_completion_length=LENGTH, rate=RATE,
        tuning="full", rollouts="free", temperature=1.0, scale_rewards="group", redraws=0, micro_batch=micro,
    )  # fmt: skip
    return settings.optimize(rows, program.model.engine, program.adapter(), folder, seed=0, progress=False)


def mrsi(rows: Dataset, program: GMNER, folder: Path, steps: int, micro: int) -> Log:
    """Train with MRSI."""
    settings = MRSI(max_steps=steps, batch=BATCH, micro_batch=micro, rate=RATE, tuning="full")
    return settings.inject(rows, program.model.engine, folder, seed=0, progress=False)


def rows_of(program: GMNER, stage: str, steps: int, *, per_post: int) -> Dataset:
    """The training rows of a stage, enough for the steps."""
    posts = World().posts("train", BATCH * steps)
    if stage == "grpo":
        calls = answer_calls(posts[: PROMPTS * steps], program.answer.signature, [])
        return CVO(prompts=PROMPTS, generations=GENERATIONS, rollouts="free").rows(calls, program.adapter())
    settings = MRSI(styles=STYLES, per_post=per_post)
    posts = posts[: BATCH * steps // per_post]
    chains = settings.chains(posts, program.adapter(), random.Random(0))
    return program_rows(
        program, settings.lessons(chains, program), {post.id: post for post in posts}, program.adapter(), []
    )


STAGES: dict[str, dict[str, Side]] = {
    "grpo": {"bare TRL": bare_grpo, "CVO": cvo},
    "sft": {"bare TRL": bare_sft, "MRSI": mrsi},
}


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=STAGES, default="grpo")
    parser.add_argument("--model", help="model folder or Hub id (default: the embedded model)")
    parser.add_argument("--one-chain", action="store_true", help="SFT: one chain per post, in place of two")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements per variant")
    sizes = [size for size in range(1, BATCH + 1) if BATCH % size == 0]
    micro_batch = f"samples held at once, of {BATCH} per step; fewer need less memory (default: %(default)s)"
    parser.add_argument("--micro-batch", type=int, default=BATCH, choices=sizes, help=micro_batch)
    args = parser.parse_args()
    program = GMNER(lm=load_vlm(args.model, cache=False))
    rows = rows_of(program, args.stage, args.steps, per_post=1 if args.one_chain else 2)
    sides = STAGES[args.stage]
    times: dict[str, list[float]] = {name: [] for name in sides}
    lengths: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(2 * args.rounds + 1):
        name = list(sides)[turn % 2]
        with tempfile.TemporaryDirectory() as folder, quiet_libraries():
            log = sides[name](rows, program, Path(folder), args.steps, args.micro_batch)
        lengths[name] += [entry["completions/mean_length"] for entry in log if "completions/mean_length" in entry]
        if turn:  # the first run is a warm-up
            times[name].append(next(entry["train_runtime"] for entry in log if "train_runtime" in entry) / args.steps)
    for name, seconds in times.items():
        measured = ", ".join(f"{value:.2f}" for value in seconds)
        figures = f"{median(seconds):.2f} s per step (median of {measured})"
        if lengths[name]:
            figures += f", {mean(lengths[name]):.1f} tokens per answer"
        sys.stdout.write(f"{name:10} {figures}\n")
    bare, ours = sides
    sys.stdout.write(f"{ours} / {bare}: {median(times[ours]) / median(times[bare]):.3f}\n")


if __name__ == "__main__":
    main()
