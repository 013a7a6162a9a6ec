"""`python -m gmner.recipes.embedded`: train the embedded model from scratch.

Stages: `text` (names in texts), `vision` (what is where), `language` (questions about an image), `reasoning` (these and
answers that follow from a comparison in words). Each stage writes a finished model into the work folder. A stopped
stage resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn
from transformers import Idefics3ForConditionalGeneration, Trainer, TrainingArguments, set_seed

from gmner.data.files.atomic import atomic_path, whole_text
from gmner.optimizers.training.checkpoints import last_checkpoint
from gmner.programs.models.weights import has_bfloat16_units
from gmner.recipes.embedded.dialogues import Dialogues, PadDialogues
from gmner.recipes.embedded.language import AnswerTeacher
from gmner.recipes.embedded.model import build_model, build_processor, save
from gmner.recipes.embedded.muon import Muon
from gmner.recipes.embedded.pool import Pool, add_features, build_pool, draw_known, draw_newcomers, unseen_pool
from gmner.recipes.embedded.questions import EVERYTHING, MEETING, REASONING, TEXT, Mix
from gmner.recipes.embedded.tokenizer import train_tokenizer
from gmner.recipes.embedded.vision import CellTeacher, SceneCells, collate_cells

LOG = logging.getLogger("gmner.pretrain")
LOGGING_STEPS = 5
WEIGHTS = "model.safetensors"
CURVE = "curve.json"
"""File with the losses: of one stage in the folder of the stage, of all stages beside the finished model."""


class _LossTrainer(Trainer):
    """Logs the parts of the loss that the model returns beside `loss`."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        parts = model(**inputs)
        if self.state.global_step % self.args.logging_steps == 0 and model.training:
            figures = {name: round(float(value), 4) for name, value in parts.items() if name != "loss"}
            self.log({name: value for name, value in figures.items() if math.isfinite(value)})
        return (parts["loss"], parts) if return_outputs else parts["loss"]


def _train(teacher: nn.Module, data: Any, collate: Callable[..., Any], folder: Path, options: dict[str, Any]) -> None:
    """Run one stage, from its last checkpoint if it has one."""
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"), use_cpu=not torch.cuda.is_available(), seed=0,
        bf16=torch.cuda.is_available() or has_bfloat16_units(), logging_steps=LOGGING_STEPS,
        save_steps=250, save_total_limit=2, report_to=[], label_names=[], dataloader_pin_memory=False,
        remove_unused_columns=False, lr_scheduler_type="cosine", weight_decay=0.02, max_grad_norm=1.0, **options,
    )  # fmt: skip
    optimizer = Muon(teacher, arguments.learning_rate, arguments.weight_decay, betas=(0.9, 0.98))
    trainer = _LossTrainer(
        model=teacher, args=arguments, train_dataset=data, data_collator=collate, optimizers=(optimizer, None)
    )
    newest = last_checkpoint(folder / "checkpoints")
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    trainer.state.save_to_json(str(folder / CURVE))


def _stage(name: str, work: Path, before: Path | None, run: Callable[[Any, Any, Path], None]) -> Path:
    """Load the model of the previous stage, run this one and write its model; skip a stage that is finished."""
    folder = work / name
    if (folder / WEIGHTS).exists():
        LOG.info("stage %s is done", name)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    set_seed(0)
    if before is None:
        tokenizer = train_tokenizer()
        model = build_model(tokenizer)
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(before)
        model = Idefics3ForConditionalGeneration.from_pretrained(before, dtype=torch.float32)
    LOG.info("stage %s starts", name)
    run(model, tokenizer, folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".model.") as unfinished:
        save(model, build_processor(tokenizer), Path(unfinished))
        for made in _weights_last(Path(unfinished)):
            os.replace(made, folder / made.name)
    return folder


def _weights_last(folder: Path) -> list[Path]:
    """The files of a model, the weights last: if the weights exist, so do the others."""
    return sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.name == WEIGHTS)


class Recipe:
    """The stages of pre-training. Each method trains the model in place.

    Args:
        args: The command's arguments.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args

    @cached_property
    def _pool(self) -> Pool:
        """The scenes, drawn when the first stage needs them."""
        return build_pool(self._args.work, "scenes", self._args.scenes, draw_known, self._args.workers)

    def text(self, model: Any, tokenizer: Any, folder: Path) -> None:
        """Extract names from texts, without images."""
        steps, batch = self._args.text_steps, self._args.batch
        data = Dialogues(unseen_pool(self._args.scenes), tokenizer, (TEXT,), steps, batch, seed=1, types=False)
        self._talk(AnswerTeacher(model, tokenizer), data, tokenizer, folder, steps, rate=1.6e-3)

    def vision(self, model: Any, tokenizer: Any, folder: Path) -> None:
        """Predict what is shown, and where it ends, at every location of the image."""
        options = self._options(self._args.vision_steps, rate=2e-3)
        _train(CellTeacher(model, tokenizer), SceneCells(self._pool), collate_cells, folder, options)

    def language(self, model: Any, tokenizer: Any, folder: Path) -> None:
        """Answer every kind of question about an image. From here on, the vision tower is frozen."""
        self._ask(EVERYTHING, model, tokenizer, folder, self._args.language_steps, seed=2, rate=8e-4)

    def reasoning(self, model: Any, tokenizer: Any, folder: Path) -> None:
        """Answer the same questions, and write answers that follow from a comparison in words."""
        self._ask(REASONING, model, tokenizer, folder, self._args.reasoning_steps, seed=3, rate=4e-4)

    def _ask(
        self, mixes: Sequence[Mix], model: Any, tokenizer: Any, folder: Path, steps: int, *, seed: int, rate: float
    ) -> None:
        model.model.vision_model.requires_grad_(False)
        pool = add_features(self._pool, model, self._args.work / "vision" / f"features-{len(self._pool)}.npy")
        if MEETING in mixes:
            pool = replace(pool, newcomers=self._newcomers(model))
        data = Dialogues(pool, tokenizer, mixes, steps, self._args.batch, seed)
        self._talk(AnswerTeacher(model, tokenizer, decision_weight=3.0), data, tokenizer, folder, steps, rate)

    def _talk(
        self, teacher: AnswerTeacher, data: Dialogues, tokenizer: Any, folder: Path, steps: int, rate: float
    ) -> None:
        options = {**self._options(steps, rate), "train_sampling_strategy": "sequential"}
        teacher.body.text_model.set_attn_implementation("eager")  # the only one that shows where it looks
        _train(teacher, data, PadDialogues(tokenizer.pad_token_id), folder, options)
        teacher.body.text_model.set_attn_implementation("sdpa")

    def _newcomers(self, model: Any) -> Pool:
        """A quarter as many scenes again, with newcomers."""
        work, count = self._args.work, max(1, self._args.scenes // 4)
        pool = build_pool(work, "newcomers", count, draw_newcomers, self._args.workers)
        return add_features(pool, model, work / "vision" / f"newcomers-{count}.npy")

    def _options(self, steps: int, rate: float) -> dict[str, Any]:
        shape = {"per_device_train_batch_size": self._args.batch, "max_steps": steps}
        return {**shape, "learning_rate": rate, "warmup_steps": max(1, min(60, steps // 15))}


STEPS = {"text": 450, "vision": 1500, "language": 2200, "reasoning": 840}
"""The stages in order, with their numbers of optimizer steps."""


def main() -> None:
    """Train the embedded model and copy it to `--out`."""
    parser = argparse.ArgumentParser(prog="python -m gmner.recipes.embedded", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes, checkpoints and curves")
    parser.add_argument("--out", type=Path, help="folder that receives the finished model")
    parser.add_argument("--scenes", type=int, default=32000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw scenes")
    for name, steps in STEPS.items():
        parser.add_argument(f"--{name}-steps", type=int, default=steps)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(args)
    folder = None
    for name in STEPS:
        folder = _stage(name, args.work, folder, getattr(recipe, name))
    if args.out and folder:
        args.out.mkdir(parents=True, exist_ok=True)
        for file in (file for file in _weights_last(folder) if file.name != CURVE):
            with atomic_path(args.out / file.name) as place:
                shutil.copy2(file, place)
        with whole_text(args.out / CURVE) as curve:
            curve.write(json.dumps(_record(args), indent=1) + "\n")


def _record(args: argparse.Namespace) -> dict[str, Any]:
    """The settings, the losses of every stage, and the mean of each part of the loss over its last hundred steps."""
    stages = {}
    for name in STEPS:
        history = json.loads((args.work / name / CURVE).read_text(encoding="utf-8"))["log_history"]
        losses = {entry["step"]: round(entry["loss"], 4) for entry in history if "loss" in entry}
        parts = [entry for entry in history if not {"loss", "train_runtime"} & set(entry)][-100 // LOGGING_STEPS :]
        keys = sorted({key for part in parts for key in part} - {"step", "epoch"})
        ends = {key: round(fmean(part[key] for part in parts if key in part), 4) for key in keys}
        stages[name] = {"steps": getattr(args, f"{name}_steps"), "losses": losses, "ends": ends}
    return {"batch": args.batch, "scenes": args.scenes, "stages": stages}


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
