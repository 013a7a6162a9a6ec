"""A trainable copy of the weights behind an LM, and what TRL's trainers have in common here."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import dspy
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText, PreTrainedModel, PrinterCallback, ProcessorMixin, TrainerCallback
from transformers.utils import logging as transformers_logging

from gmner.data.images.trimming import trim
from gmner.optimizers.training.checkpoints import MarkWhole, drop_after, last_checkpoint
from gmner.optimizers.training.validation import ValidationMonitor
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.local_engine import engine_of
from gmner.programs.models.families import PROFILE_FILE, family_of
from gmner.programs.models.loading import lm_of, load_vlm
from gmner.programs.models.processors import load_processor
from gmner.programs.models.weights import ModelSource, resolve_adapter
from gmner.signatures.errors import InputError

Tuning = Literal["auto", "lora", "lora-frozen-vision", "full"]
_SMALL = 100_000_000


@dataclass(frozen=True, slots=True)
class Lora:
    """LoRA settings; the paper trains with LoRA but gives no figures, these are ours.

    Args:
        rank: Rank of the update.
        alpha: Its scale; the update is multiplied by alpha / rank.
        dropout: Dropout on its input.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0


def trainable_engine(lm: dspy.BaseLM) -> VLMEngine | None:
    """The engine whose weights can be trained, or None for a served model."""
    return engine_of(lm, VLMEngine)


def training_copy(
    source: ModelSource, path: Path, tuning: Tuning, lora: Lora, *, small: Tuning = "full"
) -> tuple[Any, ProcessorMixin]:
    """A fresh copy of the weights to train; the served ones stay as they are.

    Args:
        source: What the engine was loaded from; its adapter, if any, is trained on.
        path: The base checkpoint's folder.
        tuning: What is trained; `auto`: `small` below 100 M parameters, else `lora-frozen-vision`.
        lora: Settings of a new adapter.
        small: What `auto` means for a small model.

    Returns:
        The model (a `PeftModel` with LoRA) and its processor.

    Raises:
        InputError: Everything is to be tuned, but the LM has an adapter.
    """
    on_gpu = torch.cuda.is_available()
    model = AutoModelForImageTextToText.from_pretrained(
        path, dtype=torch.bfloat16 if on_gpu else torch.float32, use_safetensors=True, **source.model_kwargs
    )
    model = family_of(model.config.model_type).prepared(model)
    processor = load_processor(path, model.config.model_type)
    processor.tokenizer.padding_side = "left"
    if source.adapter is None:
        tuning = resolve_tuning(tuning, model.num_parameters(), small)
    return _adapted(model, source, tuning, lora), processor


def _adapted(model: PreTrainedModel, source: ModelSource, tuning: Tuning, lora: Lora) -> Any:
    if source.adapter is not None:
        if tuning == "full":
            raise InputError("An LM with an adapter cannot be tuned in full", received=source.adapter)
        return _frozen_vision(PeftModel.from_pretrained(model, resolve_adapter(source.adapter), is_trainable=True))
    if tuning == "full":
        return model.float()
    settings: dict[str, Any] = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    if tuning == "lora-frozen-vision":
        settings["exclude_modules"] = family_of(model.config.model_type).vision_modules
    return _frozen_vision(get_peft_model(model, LoraConfig(target_modules="all-linear", **settings)))


def _frozen_vision(model: PeftModel) -> PeftModel:
    """The model, its vision tower without gradients where none of its weights are trained.

    With gradient checkpointing PEFT and TRL let the outputs of every embedding require gradients, the patches' too: the
    whole tower would be computed again and differentiated in each step.
    """
    vision = re.compile(family_of(model.get_base_model().config.model_type).vision_modules)
    for name, module in model.named_modules():
        if isinstance(module, PreTrainedModel) and vision.fullmatch(name):
            if not any(weights.requires_grad for weights in module.parameters()):
                off = _NoGradient()
                module.register_forward_pre_hook(off.enter)
                module.register_forward_hook(off.leave, always_call=True)
    return model


class _NoGradient:
    """Hooks that turn gradients off while a module runs."""

    def __init__(self) -> None:
        self._before: list[bool] = []

    def enter(self, *_: Any) -> None:
        """Before the module runs."""
        self._before.append(torch.is_grad_enabled())
        torch.set_grad_enabled(False)

    def leave(self, *_: Any) -> None:
        """After it, also where it failed."""
        torch.set_grad_enabled(self._before.pop())


def resolve_tuning(tuning: Tuning, parameters: int, small: Tuning = "full") -> Tuning:
    """What `auto` means for a model of this many parameters."""
    if tuning != "auto":
        return tuning
    return small if parameters < _SMALL else "lora-frozen-vision"


def has_adapter(model: Any) -> bool:
    """Whether a model is trained by an adapter."""
    return isinstance(model, PeftModel)


def without_adapter(model: Any) -> Any:
    """The model itself, of a model that may be a `PeftModel`."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def is_small(model: Any) -> bool:
    """Whether a model, its adapter not counted, has fewer than 100 M parameters."""
    weights = without_adapter(model).named_parameters()
    return sum(weight.numel() for name, weight in weights if "lora_" not in name) < _SMALL


def check_steps(least_steps: int, max_steps: int | None) -> None:
    """Refuse numbers of steps that mean nothing.

    Raises:
        InputError: A negative least number, or fewer than one step.
    """
    if least_steps < 0:
        raise InputError("least_steps must not be negative", received=least_steps, accepted="0 or more")
    if max_steps is not None and max_steps < 1:
        raise InputError("max_steps must be at least 1", received=max_steps, accepted="1 or more, or None")


def tuned_lm(lm: dspy.LM, engine: VLMEngine, folder: Path) -> dspy.LM:
    """An LM like `lm` on the weights that a stage wrote into `folder`: an adapter, or a whole model."""
    state = engine.dump_state()
    state.pop("fingerprint")
    options = {**state.pop("model_kwargs"), **{k: state[k] for k in ("dtype", "device_map", "max_batch", "backend")}}
    if (folder / "adapter_config.json").is_file():
        where: dict[str, Any] = {"model": state["model"], "revision": state["revision"], "adapter": str(folder)}
    else:
        where = {"model": str(folder)}
    name = lm.model.removeprefix("local/").split("@")[0]
    temperature = lm.kwargs.get("temperature") or 0.0
    return load_vlm(**where, temperature=temperature, name=name, cache=lm.cache, **options)


@contextlib.contextmanager
def lm_in_training(lm: dspy.LM, engine: VLMEngine, model: Any) -> Iterator[dspy.LM]:
    """An LM like `lm` on the weights that a trainer holds, which take no second place in memory; none are changed.

    Args:
        lm: The LM of the program that is compiled.
        engine: Its engine.
        model: The model in training, with or without an adapter; it is in training mode again afterwards.
    """
    bare = without_adapter(model)
    config, bare.generation_config = bare.generation_config, engine.model.generation_config
    model.eval()
    serving = engine.serving(bare)
    try:
        yield lm_of(serving, "in-training", temperature=lm.kwargs.get("temperature") or 0.0, cache=False)
    finally:
        serving.close()
        bare.generation_config = config
        model.train()


def save_weights(model: Any, processor: ProcessorMixin, engine: VLMEngine, folder: Path) -> None:
    """Write a trained adapter, or a whole model with its processor and profile, as safetensors; each file whole."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".weights.") as work:
        model.save_pretrained(work)
        if not isinstance(model, PeftModel):
            processor.save_pretrained(work)
            profile = engine.path / PROFILE_FILE
            if profile.is_file():
                (Path(work) / profile.name).write_bytes(profile.read_bytes())
        for file in Path(work).iterdir():
            os.replace(file, folder / file.name)


def common_arguments(
    folder: Path, steps: int, batch: int, micro_batch: int | None, rate: float, seed: int, watching: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments that TRL's SFT and GRPO configurations share here.

    Args:
        folder: Where checkpoints go.
        steps: Optimizer steps.
        batch: Samples an optimizer step, of all processes together.
        micro_batch: Most samples that a process holds at once; None: its whole share.
        rate: Peak learning rate.
        seed: Seed of order and sampling.
        watching: When to save and to score, see `ValidationMonitor.arguments`.

    Raises:
        InputError: The batch is no whole number of micro-batches on every process.
    """
    on_gpu, processes = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", "1"))
    size = min(micro_batch or batch, max(1, batch // processes))
    if batch % (size * processes):
        raise InputError(
            "A batch is no whole number of micro-batches", received=f"{batch} in parts of {size} on {processes}",
            remedy="Choose a micro_batch that divides the batch, and the share of each process",
        )  # fmt: skip
    return {
        "output_dir": str(folder), "max_steps": steps, "per_device_train_batch_size": size,
        "gradient_accumulation_steps": batch // (size * processes), "learning_rate": rate, "seed": seed,
        "save_total_limit": 2, "bf16": on_gpu, "use_cpu": not on_gpu,
        "gradient_checkpointing": on_gpu, "dataloader_pin_memory": on_gpu, "report_to": [], "logging_steps": 5,
        "disable_tqdm": True, "lr_scheduler_type": "cosine", "warmup_steps": steps // 20, **watching,
    }  # fmt: skip


class StageBar(TrainerCallback):
    """One progress bar a stage, with the figures that tell whether it learns."""

    def __init__(self, title: str, steps: int, keys: dict[str, str], *, show: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=steps, desc=title, unit="step", disable=not show)
        self._keys = keys

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start where a resumed run goes on."""
        self._bar.update(state.global_step - self._bar.n)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move on."""
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Show the latest figures."""
        found = {short: f"{logs[key]:.2f}" for key, short in self._keys.items() if logs and key in logs}
        if found:
            self._bar.set_postfix(found)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        self._bar.close()


class Trim(TrainerCallback):
    """Returns the memory of a step's activations to the system: glibc keeps it, in more and more pieces."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Return what this step freed."""
        trim()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide the training libraries' own bars, their info lines and their notes to each other on renamed options."""
    names = ("trl", "transformers", "accelerate", "datasets")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    bars, maps = transformers_logging.is_progress_bar_enabled(), datasets.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if bars:
                transformers_logging.enable_progress_bar()
            if maps:
                datasets.enable_progress_bars()


def run(trainer: Any, folder: Path, watch: ValidationMonitor, engine: VLMEngine) -> None:
    """Train, resuming from the newest whole checkpoint of a stopped run.

    Args:
        trainer: TRL's trainer.
        folder: The stage's folder.
        watch: What scores and ends the stage.
        engine: The engine whose weights are copied and trained.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(MarkWhole(engine.path / PROFILE_FILE))
    if not torch.cuda.is_available():
        trainer.add_callback(Trim())
    watch.attach(trainer)
    # From the checkpoint of its last step, transformers would train one step more.
    checkpoint = last_checkpoint(folder, trainer.args.max_steps)
    if trainer.is_world_process_zero():
        drop_after(folder, checkpoint)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
