"""`python -m gmner.optimizers.pretrain`: make the embedded model from nothing.

Stages: `text` (names in texts), `vision` (what is where), `language` (everything), `binding` (is it this one). Each
stage leaves a finished model in the work folder and resumes from its last checkpoint when it was stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Idefics3ForConditionalGeneration, Trainer, TrainingArguments, set_seed

from gmner.optimizers.pretrain.language import AnswerTeacher, Dialogues, PadDialogues
from gmner.optimizers.pretrain.model import build_model, build_processor, save
from gmner.optimizers.pretrain.pool import add_features, build_pool
from gmner.optimizers.pretrain.questions import CONTRAST, FULL, TEXT
from gmner.optimizers.pretrain.tokenizer import train_tokenizer
from gmner.optimizers.pretrain.vision import CellTeacher, SceneCells, collate_cells

LOG = logging.getLogger("gmner.pretrain")


class _LossTrainer(Trainer):
    """Logs the parts of the loss that a teacher returns beside `loss`."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        parts = model(**inputs)
        if self.state.global_step % self.args.logging_steps == 0 and model.training:
            self.log({k: round(float(v), 4) for k, v in parts.items() if k != "loss"})
        return (parts["loss"], parts) if return_outputs else parts["loss"]


def _train(teacher: nn.Module, data: Any, collate: Callable[..., Any], folder: Path, options: dict[str, Any]) -> None:
    """Run one stage, from its last checkpoint if there is one."""
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"), use_cpu=not torch.cuda.is_available(), bf16=True, logging_steps=25,
        save_steps=250, save_total_limit=2, report_to=[], dataloader_pin_memory=False, remove_unused_columns=False,
        label_names=[], lr_scheduler_type="cosine", weight_decay=0.02, max_grad_norm=1.0, seed=0,
        optim="adamw_torch", adam_beta2=0.98, **options,
    )  # fmt: skip
    trainer = _LossTrainer(model=teacher, args=arguments, train_dataset=data, data_collator=collate)
    resume = any((folder / "checkpoints").glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=resume)
    trainer.state.save_to_json(str(folder / "curve.json"))


def _stage(name: str, work: Path, before: Path | None, run: Callable[[Any, Any, Path], None]) -> Path:
    """Load the model of the stage before, run, and write the finished model; nothing where it is there already."""
    folder = work / name
    if (folder / "model.safetensors").exists():
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
    save(model, build_processor(tokenizer), folder)
    return folder


def main() -> None:
    """Make the embedded model and copy it to `--out`."""
    parser = argparse.ArgumentParser(prog="python -m gmner.optimizers.pretrain", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes, checkpoints and curves")
    parser.add_argument("--out", type=Path, help="folder that receives the finished model")
    parser.add_argument("--scenes", type=int, default=16000)
    parser.add_argument("--text-steps", type=int, default=200)
    parser.add_argument("--vision-steps", type=int, default=1900)
    parser.add_argument("--language-steps", type=int, default=1600)
    parser.add_argument("--binding-steps", type=int, default=900)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pool = build_pool(args.work, args.scenes, args.workers)
    shape = {"per_device_train_batch_size": args.batch}
    in_order = {**shape, "train_sampling_strategy": "sequential"}

    def text(model: Any, tokenizer: Any, folder: Path) -> None:
        data = Dialogues(pool, tokenizer, (TEXT,), args.text_steps, args.batch, seed=1)
        options = {**in_order, "max_steps": args.text_steps, "learning_rate": 1.5e-3, "warmup_steps": 30}
        _train(AnswerTeacher(model, tokenizer), data, PadDialogues(tokenizer.pad_token_id), folder, options)

    def vision(model: Any, tokenizer: Any, folder: Path) -> None:
        options = {**shape, "max_steps": args.vision_steps, "learning_rate": 1.5e-3, "warmup_steps": 60}
        _train(CellTeacher(model, tokenizer), SceneCells(pool), collate_cells, folder, options)

    def language(model: Any, tokenizer: Any, folder: Path) -> None:
        model.model.vision_model.requires_grad_(False)
        seen = add_features(pool, model, args.work)
        data = Dialogues(seen, tokenizer, FULL, args.language_steps, args.batch, seed=2)
        options = {**in_order, "max_steps": args.language_steps, "learning_rate": 1.2e-3, "warmup_steps": 80}
        _train(AnswerTeacher(model, tokenizer), data, PadDialogues(tokenizer.pad_token_id), folder, options)

    def binding(model: Any, tokenizer: Any, folder: Path) -> None:
        model.model.vision_model.requires_grad_(False)
        seen = add_features(pool, model, args.work)
        data = Dialogues(seen, tokenizer, CONTRAST, args.binding_steps, args.batch, seed=3)
        options = {**in_order, "max_steps": args.binding_steps, "learning_rate": 1e-3, "warmup_steps": 40}
        teacher = AnswerTeacher(model, tokenizer, decision_weight=6.0)
        _train(teacher, data, PadDialogues(tokenizer.pad_token_id), folder, options)

    folder = None
    for name, run in (("text", text), ("vision", vision), ("language", language), ("binding", binding)):
        folder = _stage(name, args.work, folder, run)
    if args.out and folder:
        args.out.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            if file.is_file():
                shutil.copy2(file, args.out / file.name)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
