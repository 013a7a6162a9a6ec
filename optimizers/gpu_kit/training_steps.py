"""Runs a few steps of a preset's two training stages, resumes from a checkpoint, and saves and loads a bundle."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmner.data.post import Post
from gmner.optimizers.cvo import CVO
from gmner.optimizers.gpu_kit.meter import Meter
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training.process_group import ProcessGroup
from gmner.optimizers.training.program_calls import answer_calls
from gmner.optimizers.training.rows import tuning_rows
from gmner.optimizers.training.trainable import tuned_lm
from gmner.optimizers.training.validation import Deadline, ValidationMonitor
from gmner.programs.bundle import load, save_bundle
from gmner.programs.gmner import GMNER

_ADAPTER = ("adapter_model.safetensors", "model.safetensors")


def sft(mrsi: MRSI, program: GMNER, posts: Sequence[Post], folder: Path, minutes: float) -> dict[str, Any]:
    """Run steps of MRSI on template chains of `posts`; checkpoints and weights are kept in `folder`."""
    adapter, engine = program.adapter(), program.model.engine
    lessons = mrsi.lessons(mrsi.chains(posts, adapter, random.Random(0)), program)
    rows = tuning_rows(lessons, {post.id: post for post in posts}, adapter, program.answer.signature, [])
    with Meter() as meter:
        log = mrsi.inject(rows, engine, folder, seed=0, progress=False, watch=_until(minutes))
    samples = mrsi.micro_batch or mrsi.batch
    return {**_stage(log, mrsi.batch, samples), "losses": _losses(log), "all_seconds": round(meter.seconds, 1),
            **meter.memory()}  # fmt: skip


def resume(mrsi: MRSI, program: GMNER, posts: Sequence[Post], folder: Path, minutes: float) -> dict[str, Any]:
    """Run `sft` again in a folder that only has the checkpoint of half the steps, as after an interruption."""
    for name in _ADAPTER:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / f"checkpoint-{mrsi.max_steps}", ignore_errors=True)
    checkpoints = sorted(path.name for path in folder.glob("checkpoint-*"))
    figures = sft(mrsi, program, posts, folder, minutes)
    return {"from": checkpoints[-1] if checkpoints else None, **figures}


def grpo(cvo: CVO, program: GMNER, posts: Sequence[Post], folder: Path, minutes: float) -> dict[str, Any]:
    """Run steps of CVO with the rollouts of the preset; the weights are kept in `folder`."""
    adapter, engine = program.adapter(), program.model.engine
    rows = cvo.rows(answer_calls(posts, program.answer.signature, []), adapter)
    with Meter() as meter:
        log = cvo.optimize(rows, engine, adapter, folder, seed=0, progress=False, watch=_until(minutes))
    answers = cvo.generations * min(cvo.prompts, len(rows))
    lengths = [entry["completions/mean_length"] for entry in log if "completions/mean_length" in entry]
    return {
        **_stage(log, answers, cvo.micro_batch or answers), "losses": _losses(log),
        "completion_tokens": round(sum(lengths) / len(lengths), 1) if lengths else 0,
        "all_seconds": round(meter.seconds, 1), **meter.memory(),
    }  # fmt: skip


def bundle(program: GMNER, trained: Path, post: Post, folder: Path) -> dict[str, Any]:
    """Save the trained program as a bundle, load it, and compare a greedy answer of both."""
    engine = program.model.engine
    tuned = GMNER(tuned_lm(program.model, engine, trained), limits=program.limits)
    before = tuned(text=post.text, image=post.image)
    with Meter() as saving:
        save_bundle(tuned, folder)
    tuned.model.engine.close()
    del tuned
    with Meter() as loading:
        loaded = load(folder, cache=False)
    same = loaded(text=post.text, image=post.image).toDict() == before.toDict()
    loaded.model.engine.close()
    return {
        "save_seconds": round(saving.seconds, 2), "load_seconds": round(loading.seconds, 2), "same_answer": same,
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    }  # fmt: skip


def _until(minutes: float) -> ValidationMonitor:
    return ValidationMonitor(Deadline(max(0.01, minutes), ProcessGroup()))


def _stage(log: Sequence[dict[str, Any]], batch: int, held: int) -> dict[str, Any]:
    """Steps, tokens and seconds of training, from TRL's log."""
    steps = max((entry.get("step", 0) for entry in log), default=0)
    seconds = next((entry["train_runtime"] for entry in log if "train_runtime" in entry), 0.0)
    tokens = max((entry["num_tokens"] for entry in log if "num_tokens" in entry), default=0)
    return {
        "steps": steps, "samples_per_step": batch, "samples_held": held, "tokens_in_all": round(tokens),
        "train_seconds": round(seconds, 1),
    }  # fmt: skip


def _losses(log: Sequence[dict[str, Any]]) -> list[float]:
    return [round(entry["loss"], 4) for entry in log if "loss" in entry]
