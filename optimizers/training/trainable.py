"""A trainable copy of an LM's weights, and what the SFT and GRPO stages share: arguments, callbacks, saving."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import dspy
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText, PreTrainedModel, PrinterCallback, ProcessorMixin, TrainerCallback
from transformers.utils import logging as transformers_logging

from gmner.data.images.trimming import trim
from gmner.optimizers.training.checkpoint_mark import MarkWhole
from gmner.optimizers.training.checkpoints import drop_after, last_checkpoint
from gmner.optimizers.training.settings import Lora, Training, Tuning
from gmner.optimizers.training.validation import ValidationMonitor
from gmner.programs.engine.vllm_engine import VLLMEngine
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.local_engine import engine_of
from gmner.programs.models.families import PROFILE_FILE, family_of
from gmner.programs.models.loading import lm_of, load_vlm
from gmner.programs.models.processors import load_processor
from gmner.programs.models.weights import ModelSource, config_of, resolve_adapter
from gmner.signatures.errors import InputError

_SMALL = 100_000_000


def trainable_engine(lm: dspy.BaseLM) -> VLMEngine | None:
    """The engine whose weights can be trained, or None for a served model."""
    return engine_of(lm, VLMEngine)


def check_engine_trains(lm: dspy.BaseLM) -> None:
    """Check that the model of a compile does not run in vLLM, which holds the memory that training needs.

    Raises:
        InputError: It does.
    """
    if engine_of(lm, VLLMEngine) is not None:
        raise InputError(
            "MRSI and CVO cannot train a model that runs in vLLM",
            received=lm.model,
            accepted="an LM of gmner.load_vlm with engine='transformers', the default",
            remedy="Compile with the default engine, save the program, and score it with gmner.load(folder, "
            "engine='vllm'); an LM with engine='vllm' can be the teacher of MRSI",
        )


def check_answers_at_once(lm: dspy.BaseLM) -> None:
    """Check that the model of a compile does not think before its answers.

    Rows and rollouts are prompts with answers, and in the answers of MCR the chain is the reasoning. A model that was
    trained so would be used in another way if it thought at inference.

    Raises:
        InputError: The LM was loaded with `thinking=True`.
    """
    engine = trainable_engine(lm)
    if engine is not None and engine.weights.source.thinking:
        raise InputError(
            "A model that thinks before its answers cannot be trained",
            received=lm.model,
            accepted="an LM that was loaded with thinking=False, the default",
            remedy="Load it without thinking; a thinking LM can be the teacher of MRSI",
        )


def check_family_trains(lm: dspy.BaseLM, *, cvo: bool) -> None:
    """Check that TRL can train the model.

    Args:
        lm: The model of a compile. A served one is not checked.
        cvo: Whether CVO trains it, or only MRSI.

    Raises:
        InputError: TRL cannot train models of its family, see `ModelFamily.no_training` and `no_grpo`.
    """
    engine = trainable_engine(lm)
    family = None if engine is None else family_of(engine.model.config.model_type)
    if family is not None and family.no_training:
        fact = f"MRSI and CVO cannot train {family.shown_as}. {family.no_training}"
        remedy = "Use its chains as demonstrations: MCR(mrsi=MRSI(tuning='none'), cvo=None)"
        raise InputError(fact, received=lm.model, remedy=remedy)
    if cvo and family is not None and family.no_grpo:
        fact = f"CVO cannot train {family.shown_as}. {family.no_grpo}"
        raise InputError(fact, received=lm.model, remedy="Compile it with MRSI alone: MCR(cvo=None)")


def training_copy(
    source: ModelSource, path: Path, tuning: Tuning, lora: Lora, *, small: Tuning = "full"
) -> tuple[Any, ProcessorMixin]:
    """Load a copy of the weights for training; the weights of the engine do not change.

    Args:
        source: Where the engine was loaded from. If it has an adapter, training continues from it.
        path: The folder of the base checkpoint.
        tuning: Which weights are trained; `auto`: `small` below 100 M parameters, else `lora-frozen-vision`.
        lora: Settings of a new adapter.
        small: The meaning of `auto` for a small model.

    Returns:
        The model (a `PeftModel` with LoRA) and its processor.

    Raises:
        InputError: `tuning` is `full`, but the LM has an adapter.
    """
    on_gpu = torch.cuda.is_available()
    model = AutoModelForImageTextToText.from_pretrained(
        path,
        config=config_of(path),
        dtype=torch.bfloat16 if on_gpu else torch.float32,
        use_safetensors=True,
        **source.model_kwargs,
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
            raise InputError("tuning='full' is not possible for an LM with an adapter", received=source.adapter)
        return _frozen_vision(PeftModel.from_pretrained(model, resolve_adapter(source.adapter), is_trainable=True))
    if tuning == "full":
        return model.float()
    settings: dict[str, Any] = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    if tuning == "lora-frozen-vision":
        settings["exclude_modules"] = family_of(model.config.model_type).vision_modules
    return _frozen_vision(get_peft_model(model, LoraConfig(target_modules="all-linear", **settings)))


def _frozen_vision(model: PeftModel) -> PeftModel:
    """Turn off gradients in the vision tower if none of its weights are trained.

    With gradient checkpointing, PEFT and TRL make the outputs of every embedding require gradients, including those of
    the patches. The whole tower would then be recomputed and differentiated in each step.
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
    """Hooks that turn off gradients while a module runs."""

    def __init__(self) -> None:
        self._before: list[bool] = []

    def enter(self, *_: Any) -> None:
        """Called before the module runs."""
        self._before.append(torch.is_grad_enabled())
        torch.set_grad_enabled(False)

    def leave(self, *_: Any) -> None:
        """Called after the module has run or raised."""
        torch.set_grad_enabled(self._before.pop())


def resolve_tuning(tuning: Tuning, parameters: int, small: Tuning = "full") -> Tuning:
    """Replace `auto` by its meaning for a model with this number of parameters."""
    if tuning != "auto":
        return tuning
    return small if parameters < _SMALL else "lora-frozen-vision"


def has_adapter(model: Any) -> bool:
    """Whether a model has an adapter."""
    return isinstance(model, PeftModel)


def without_adapter(model: Any) -> Any:
    """The base model of a `PeftModel`; other models are returned as they are."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def is_small(model: Any) -> bool:
    """Whether a model has fewer than 100 M parameters, without its adapter."""
    weights = without_adapter(model).named_parameters()
    return sum(weight.numel() for name, weight in weights if "lora_" not in name) < _SMALL


def tuned_lm(lm: dspy.LM, engine: VLMEngine, folder: Path) -> dspy.LM:
    """Create an LM like `lm` with the weights that a stage saved in `folder`: an adapter, or a whole model."""
    state = engine.dump_state()
    state.pop("fingerprint")
    same = ("dtype", "device_map", "max_batch", "backend", "profile")
    options = {**state.pop("model_kwargs"), **{name: state[name] for name in same}}
    if (folder / "adapter_config.json").is_file():
        where: dict[str, Any] = {"model": state["model"], "revision": state["revision"], "adapter": str(folder)}
    else:
        where = {"model": str(folder)}
    name = lm.model.removeprefix("local/").split("@")[0]
    temperature = lm.kwargs.get("temperature") or 0.0
    return load_vlm(**where, temperature=temperature, name=name, cache=lm.cache, **options)


@contextlib.contextmanager
def lm_in_training(lm: dspy.LM, engine: VLMEngine, model: Any) -> Iterator[dspy.LM]:
    """Create an LM like `lm` that uses the model in training, without a copy and without changing its weights.

    Args:
        lm: The LM of the program that is compiled.
        engine: Its engine.
        model: The model in training, with or without an adapter. It returns to training mode afterwards.
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
    """Save a trained adapter, or a whole model with its processor and profile; files appear only when complete."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".weights.") as work:
        model.save_pretrained(work)
        if not isinstance(model, PeftModel):
            processor.save_pretrained(work)
            profile = engine.weights.profile_text
            if profile is not None:
                (Path(work) / PROFILE_FILE).write_text(profile, encoding="utf-8")
        for file in Path(work).iterdir():
            os.replace(file, folder / file.name)


def common_arguments(
    settings: Training, folder: Path, steps: int, *, rate: float, seed: int, watching: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments that TRL's SFT and GRPO configurations share.

    Args:
        settings: The stage's settings; batch and micro-batch are read from it.
        folder: Where checkpoints go.
        steps: Optimizer steps.
        rate: Peak learning rate.
        seed: Seed of order and sampling.
        watching: When to save and to score, see `ValidationMonitor.arguments`.

    Raises:
        InputError: The batch cannot be divided into micro-batches of one size on every process.
    """
    batch = settings.batch
    on_gpu, processes = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", "1"))
    size = min(settings.micro_batch or batch, max(1, batch // processes))
    if batch % (size * processes):
        raise InputError(
            "micro_batch must divide the batch of each process",
            received=f"batch {batch}, micro_batch {size}, processes {processes}",
            remedy="Choose a micro_batch that divides the batch, and the share of each process",
        )
    return {
        "output_dir": str(folder), "max_steps": steps, "per_device_train_batch_size": size,
        "gradient_accumulation_steps": batch // (size * processes), "learning_rate": rate, "seed": seed,
        "save_total_limit": 2, "bf16": on_gpu, "use_cpu": not on_gpu,
        "gradient_checkpointing": on_gpu, "dataloader_pin_memory": on_gpu, "report_to": [], "logging_steps": 5,
        "disable_tqdm": True, "lr_scheduler_type": "cosine", "warmup_steps": steps // 20, **watching,
    }  # fmt: skip


def router_arguments(model: Any) -> dict[str, float]:
    """An argument that keeps TRL from training the routers of a mixture of experts whose loss it cannot compute.

    TRL reads the number of experts from `num_experts`, which some configurations call otherwise (GLM-4.5V).
    """
    config = without_adapter(model).config.get_text_config()
    unknown = hasattr(config, "output_router_logits") and not hasattr(config, "num_experts")
    return {"router_aux_loss_coef": 0.0} if unknown else {}


class StageBar(TrainerCallback):
    """A progress bar for a stage, with figures that show whether the model learns."""

    def __init__(self, title: str, steps: int, keys: dict[str, str], *, show: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=steps, desc=title, unit="step", disable=not show)
        self._keys = keys

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start at the step from which training resumes."""
        self._bar.update(state.global_step - self._bar.n)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance by a step."""
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Show the latest figures."""
        figures = {short: f"{logs[key]:.2f}" for key, short in self._keys.items() if logs and logs.get(key) is not None}
        if figures:
            self._bar.set_postfix(figures)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        self._bar.close()


class Trim(TrainerCallback):
    """Returns the memory of a step's activations to the system; glibc would keep it, more fragmented at each step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Return the memory that this step has freed."""
        trim()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide the progress bars, info messages and deprecation warnings of the training libraries."""
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
    """Train, and resume from the newest complete checkpoint if there is one.

    Args:
        trainer: TRL's trainer.
        folder: The stage's folder.
        watch: Validation and time limit of the stage.
        engine: The engine whose weights are copied and trained.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(MarkWhole(engine.path / PROFILE_FILE, engine.weights.profile_text))
    if not torch.cuda.is_available():
        trainer.add_callback(Trim())
    watch.attach(trainer)
    # transformers would train one more step if it resumed from the checkpoint of the last step.
    checkpoint = last_checkpoint(folder, trainer.args.max_steps)
    if trainer.is_world_process_zero():
        drop_after(folder, checkpoint)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    config, source = (part.config.get_text_config() for part in (without_adapter(trainer.model), engine.model))
    for name in ("output_router_logits", "router_aux_loss_coef"):  # TRL changes them; with the logits of the routers,
        if hasattr(source, name):  # transformers cannot generate
            setattr(config, name, getattr(source, name))
