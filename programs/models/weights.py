"""Loads a checkpoint from a folder or the Hub, with its processor and adapter: safetensors only, no remote code."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import logging as transformers_logging

from gmner.programs.models.families import PROFILE_FILE, ModelProfile, Thinking, check_family, family_of, profile_of
from gmner.programs.models.fingerprint import fingerprint
from gmner.programs.models.hub import folder_or_hub
from gmner.programs.models.processors import thinking_processor
from gmner.programs.recorded import ADAPTER_FILES, DTYPES
from gmner.signatures.errors import ModelError

EMBEDDED = Path(__file__).parent / "embedded"
"""The folder of the model that is part of this package."""

_SMALL = 256 * 2**20
_LONGEST = 1000
_MOST_LAYERS = 10_000
_LEAST = 2**24
# Number of weights (64 MiB in float32) that a configuration may always describe, whatever the size of the files.
_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The arguments of `load_vlm` that select the weights, as JSON data that can be saved with a program."""

    model: str | None = None
    adapter: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    device_map: Any = None
    profile: dict[str, Any] | None = None
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class Weights:
    """A loaded vision-language model.

    Attributes:
        model: The model in evaluation mode, with the adapter merged.
        processor: Its processor, with left padding.
        profile: Its coordinate convention, prompt wording and resize rule.
        path: The folder of the base checkpoint.
        adapter_path: The folder of the adapter, or None.
        fingerprint: See `fingerprint`.
        source: The arguments it was loaded with.
        thinking: The markers of its thinking, whether it is switched on or off; None: the model does not think.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    profile: ModelProfile
    path: Path
    adapter_path: Path | None
    fingerprint: str
    source: ModelSource
    thinking: Thinking | None = None

    @property
    def config(self) -> Any:
        """The configuration of the model."""
        return self.model.config

    @property
    def end_ids(self) -> list[int]:
        """Token ids that end an answer; the tokenizer's end token is the first."""
        return end_ids_of(self.processor, self.model.generation_config)

    @property
    def profile_text(self) -> str | None:
        """The content of the `gmner.json` that must be saved with the weights; None: they need none."""
        if self.source.profile is not None:
            return json.dumps(self.profile.as_data(), indent=2) + "\n"
        file = self.path / PROFILE_FILE
        return file.read_text(encoding="utf-8") if file.is_file() else None

    @property
    def context(self) -> int | None:
        """Context length in tokens, prompt and answer together; None: not in the configuration."""
        return context_of(self.model.config)


def end_ids_of(processor: ProcessorMixin, generation: GenerationConfig) -> list[int]:
    """Token ids that end an answer; the tokenizer's end token is the first."""
    configured = generation.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return list(dict.fromkeys([processor.tokenizer.eos_token_id, *(i for i in listed if i is not None)]))


def context_of(config: Any) -> int | None:
    """The context length of a model's decoder in tokens; None: not in its configuration."""
    positions = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


def load_weights(source: ModelSource) -> Weights:
    """Load a checkpoint with its processor and adapter.

    Raises:
        ModelError: The model does not exist, has no weights, is not a vision-language model, or its files do not match.
    """
    check_dtype(source.dtype)
    path = resolve_model(source.model, source.revision)
    adapter = None if source.adapter is None else resolve_adapter(source.adapter)
    config = config_of(path)
    check_family(config.model_type, path, source.profile)
    with loading_errors("The model cannot be loaded", path), quietly():
        _check_size(config, path)
        processor, thinking = thinking_processor(path, config.model_type, thinking=source.thinking)
        model = _model(path, config, source)
        if adapter is not None:
            model = _with_adapter(model, adapter)
        processor.tokenizer.padding_side = "left"
        model.generation_config = _plain_generation(model, processor)
        profile = profile_of(config.model_type, processor, path, source.profile)
        name = fingerprint(path, *([] if adapter is None else [adapter]))
    return Weights(model.eval(), processor, profile, path, adapter, name, source, thinking)


@contextmanager
def loading_errors(fact: str, path: Path) -> Iterator[None]:
    """Convert the errors that libraries raise for a malformed checkpoint to `ModelError`, including Rust panics."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        remedy = str(error)[:_LONGEST] or type(error).__name__
        raise ModelError(fact, received=str(path), remedy=remedy) from error


def check_dtype(dtype: Any) -> None:
    """Check that `dtype` names a floating-point dtype; transformers would accept any attribute of torch."""
    if not (isinstance(dtype, str) and dtype in DTYPES) and not (
        isinstance(dtype, torch.dtype) and dtype.is_floating_point
    ):
        raise ModelError("dtype must be a floating-point dtype", received=dtype, accepted=", ".join(DTYPES))


def resolve_model(model: str | None, revision: str | None = None) -> Path:
    """The folder of a model: the embedded one for None, a local folder, or a download from the Hub.

    Raises:
        ModelError: The folder does not exist, or has no configuration or no safetensors.
    """
    folder = EMBEDDED if model is None else folder_or_hub(model, "Model", ModelError, revision=revision, files=_FILES)
    accepted = "a folder with config.json and *.safetensors, or a Hub id"
    if not folder.is_dir():
        remedy = "This installation lacks the embedded model; pass another model" if model is None else ""
        raise ModelError("The model folder does not exist", received=str(folder), accepted=accepted, remedy=remedy)
    if not (folder / "config.json").is_file():
        lora = (folder / "adapter_config.json").is_file()
        remedy = "The folder contains an adapter; load it with load_vlm(base, adapter=...)" if lora else ""
        raise ModelError("The model folder has no config.json", received=str(folder), accepted=accepted, remedy=remedy)
    if not any(folder.glob("*.safetensors")):
        remedy = "Pickled weights are never loaded; save the model with save_pretrained"
        raise ModelError(
            "The model folder has no safetensors weights", received=str(folder), accepted=accepted, remedy=remedy
        )
    return folder.resolve()


def resolve_adapter(adapter: str) -> Path:
    """The folder of a LoRA adapter, downloaded if it is on the Hub.

    Raises:
        ModelError: It does not exist, or lacks `adapter_config.json` or `adapter_model.safetensors`.
    """
    folder = folder_or_hub(adapter, "Adapter", ModelError, files=ADAPTER_FILES)
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise ModelError(f"The adapter folder has no {name}", received=str(folder), accepted="a saved PEFT adapter")
    return folder.resolve()


def config_of(path: Path) -> Any:
    """The configuration of a checkpoint; for Qwen-Omni that of its thinker, the part that reads images and writes text.

    Raises:
        ModelError: It cannot be read, or the model is not a vision-language model.
    """
    with loading_errors("The model's config.json cannot be read", path):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        config = getattr(config, "thinker_config", config)
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ModelError(
            "The model is not a vision-language model",
            received=config.model_type,
            accepted="an image-text-to-text model",
        )
    return config


def _check_size(config: Any, path: Path) -> None:
    """Refuse a configuration that describes a far larger model than the files contain.

    An incomplete configuration describes the defaults of its family, which can be tens of billions of weights.
    Allocating them would exhaust the memory before the missing weights are noticed.
    """
    files = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    if files >= _SMALL:
        return
    layers = max(_layers(config.to_dict()), default=0)
    if layers > _MOST_LAYERS:
        raise ModelError(
            "The model's config.json has too many layers", received=layers, accepted=f"up to {_MOST_LAYERS}"
        )
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    described = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    most = _LEAST + 8 * files  # one bit a weight
    if described > most:
        raise ModelError(
            "The model's config.json describes more weights than its files can contain",
            received=described,
            accepted=f"up to {most} for files of {files} bytes",
        )


def _layers(config: dict[str, Any]) -> Iterator[int]:
    """The numbers of layers in a configuration and its nested configurations."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _layers(value)
        elif isinstance(value, int) and ("layers" in name or name == "depth"):
            yield value


def _model(path: Path, config: Any, source: ModelSource) -> PreTrainedModel:
    device_map = source.device_map or default_device_map()
    model, report = AutoModelForImageTextToText.from_pretrained(
        path,
        config=config,
        dtype=_dtype(path, source.dtype, device_map),
        device_map=device_map,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        **source.model_kwargs,
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError("The checkpoint lacks weights of its model", received=missing, remedy=f"Check {path}")
    return family_of(model.config.model_type).prepared(model)


def default_device_map() -> Any:
    """All GPUs; the GPU of the process under `accelerate launch` or `torchrun`; None without GPUs."""
    if not torch.cuda.is_available():
        return None
    return {"": int(os.environ["LOCAL_RANK"])} if "LOCAL_RANK" in os.environ else "auto"


def _dtype(path: Path, dtype: str, device_map: Any) -> str:
    if dtype != "auto" or device_map not in (None, "cpu"):
        return dtype
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    # A small model hardly needs less memory in half precision. A processor without instructions for it is far slower.
    return dtype if size >= _SMALL and has_bfloat16_units() else "float32"


def has_bfloat16_units() -> bool:
    """Whether the processor has instructions for matrices in bfloat16."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _with_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Apply a LoRA adapter and merge it; on quantised weights it stays unmerged, because merging would round it."""
    adapted = PeftModel.from_pretrained(model, folder)
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        stored = set(file.keys())
    expected = set(get_peft_model_state_dict(adapted))
    if stored != expected:  # peft only warns, and would leave the layers without weights untrained
        differing = sorted(stored ^ expected)
        raise ModelError(
            "The adapter does not match the model",
            received=differing,
            remedy="Load the base model that it was trained on",
        )
    return adapted if getattr(model, "is_quantized", False) else adapted.merge_and_unload()


def _plain_generation(model: PreTrainedModel, processor: ProcessorMixin) -> GenerationConfig:
    """Keep only the end and padding ids: the checkpoint's own sampling settings would change greedy answers."""
    tokenizer, ends = processor.tokenizer, model.generation_config.eos_token_id
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return GenerationConfig(
        eos_token_id=tokenizer.eos_token_id if ends is None else ends, pad_token_id=tokenizer.pad_token_id
    )


@contextmanager
def quietly() -> Iterator[None]:
    """Hide the progress bars, load reports and warnings of the libraries; missing weights raise our own errors."""
    shown, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            # peft uses an attribute that transformers has deprecated.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if shown:
            transformers_logging.enable_progress_bar()


def as_json(source: ModelSource) -> dict[str, Any]:
    """A source as JSON data.

    Raises:
        ModelError: A keyword argument for the model is not JSON data, so it cannot be saved with a program.
    """
    state = {name: getattr(source, name) for name in ModelSource.__slots__}
    try:
        return json.loads(json.dumps(state))
    except TypeError as error:
        raise ModelError("The model's arguments cannot be saved as JSON", received=state, remedy=str(error)) from error
