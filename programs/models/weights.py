"""From a folder or hub id to a model that can run: checks, dtype, device, adapter. Safetensors only, no remote code."""

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
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig, PreTrainedModel, ProcessorMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.utils import logging as transformers_logging

from gmner.programs.models.families import ModelProfile, profile_of
from gmner.programs.models.fingerprint import fingerprint
from gmner.programs.models.hub import folder_or_hub
from gmner.programs.models.processors import load_processor
from gmner.programs.models.vision_attention import pack_vision_attention
from gmner.programs.recorded import ADAPTER_FILES, DTYPES
from gmner.signatures.errors import ModelError

EMBEDDED = Path(__file__).parent / "embedded"
"""The folder of the model that is part of this package."""

_SMALL = 256 * 2**20
_LONGEST = 1000
_MOST_LAYERS = 10_000
_LEAST = 2**24
# Weights, 64 MiB of float32, that a model may have whatever its files hold.
_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What to load; see `load_vlm` for the arguments. Holds only JSON data, so it can be saved with a program."""

    model: str | None = None
    adapter: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    device_map: Any = None
    model_kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Weights:
    """A loaded vision-language model.

    Attributes:
        model: Ready for generation, adapter merged in.
        processor: Its processor, padding on the left.
        profile: Its box frame, wording and resize rule.
        path: The folder of the base checkpoint.
        adapter_path: The folder of the adapter, or None.
        fingerprint: See `fingerprint`.
        source: What was asked for.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    profile: ModelProfile
    path: Path
    adapter_path: Path | None
    fingerprint: str
    source: ModelSource

    @property
    def end_ids(self) -> list[int]:
        """Ids that end an answer; the tokenizer's own first."""
        configured = self.model.generation_config.eos_token_id
        listed = configured if isinstance(configured, list) else [configured]
        return list(dict.fromkeys([self.processor.tokenizer.eos_token_id, *(i for i in listed if i is not None)]))

    @property
    def context(self) -> int | None:
        """Most tokens of prompt and answer together; None: the configuration does not say."""
        return context_of(self.model.config)


def context_of(config: Any) -> int | None:
    """The positions of a model's decoder, from its configuration; None: it does not say."""
    positions = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


def load_weights(source: ModelSource) -> Weights:
    """Load a checkpoint with its processor and adapter.

    Raises:
        ModelError: No such model, no weights, not a vision-language model, or files that do not fit each other.
    """
    _check_dtype(source.dtype)
    path = resolve_model(source.model, source.revision)
    adapter = None if source.adapter is None else resolve_adapter(source.adapter)
    config = _config(path)
    with _loading("A model cannot be loaded", path), _quietly():
        _check_size(config, path)
        processor = load_processor(path, config.model_type)
        model = _model(path, source)
        if adapter is not None:
            model = _with_adapter(model, adapter)
        processor.tokenizer.padding_side = "left"
        model.generation_config = _plain_generation(model, processor)
        profile = profile_of(config.model_type, processor, path)
        name = fingerprint(path, *([] if adapter is None else [adapter]))
    return Weights(model.eval(), processor, profile, path, adapter, name, source)


@contextmanager
def _loading(fact: str, path: Path) -> Iterator[None]:
    """Raise a `ModelError` for whatever the libraries raise about the files of a checkpoint, a Rust panic included."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        remedy = str(error)[:_LONGEST] or type(error).__name__
        raise ModelError(fact, received=str(path), remedy=remedy) from error


def _check_dtype(dtype: Any) -> None:
    """Refuse what is not the name of a dtype that weights have: PyTorch has functions under other names."""
    if not (isinstance(dtype, str) and dtype in DTYPES) and not (
        isinstance(dtype, torch.dtype) and dtype.is_floating_point
    ):
        raise ModelError("dtype is not one that weights are loaded in", received=dtype, accepted=", ".join(DTYPES))


def resolve_model(model: str | None, revision: str | None = None) -> Path:
    """The folder of a model: the embedded one for None, a local folder, or a download from the hub.

    Raises:
        ModelError: There is none, or it holds no configuration or no safetensors.
    """
    folder = EMBEDDED if model is None else folder_or_hub(model, "Model", ModelError, revision=revision, files=_FILES)
    accepted = "a folder with config.json and *.safetensors, or a hub id"
    if not folder.is_dir():
        remedy = "this installation lacks the embedded model: pass a model" if model is None else ""
        raise ModelError("There is no model folder", received=str(folder), accepted=accepted, remedy=remedy)
    if not (folder / "config.json").is_file():
        lora = (folder / "adapter_config.json").is_file()
        remedy = "this is an adapter: load_vlm(base, adapter=...)" if lora else ""
        raise ModelError("A model folder has no config.json", received=str(folder), accepted=accepted, remedy=remedy)
    if not any(folder.glob("*.safetensors")):
        remedy = "pickled weights are never loaded: save the model with save_pretrained"
        raise ModelError(
            "A model folder has no safetensors weights", received=str(folder), accepted=accepted, remedy=remedy
        )
    return folder.resolve()


def resolve_adapter(adapter: str) -> Path:
    """The folder of a LoRA adapter, downloaded where it is a repository of the hub.

    Raises:
        ModelError: It lacks `adapter_config.json` or `adapter_model.safetensors`, or is not to be had.
    """
    folder = folder_or_hub(adapter, "Adapter", ModelError, files=ADAPTER_FILES)
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise ModelError(f"An adapter folder has no {name}", received=str(folder), accepted="a saved PEFT adapter")
    return folder.resolve()


def _config(path: Path) -> Any:
    with _loading("A model's config.json cannot be read", path):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ModelError(
            "A model is not a vision-language model", received=config.model_type, accepted="an image-text-to-text model"
        )
    return config


def _check_size(config: Any, path: Path) -> None:
    """Refuse a configuration of a model that is far larger than the weights in its folder: it would fill the memory.

    A configuration that lost a part describes the defaults of its family, which may be tens of billions of weights.
    """
    files = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    if files >= _SMALL:
        return
    layers = max(_layers(config.to_dict()), default=0)
    if layers > _MOST_LAYERS:
        raise ModelError("A model's config.json has too many layers", received=layers, accepted=f"up to {_MOST_LAYERS}")
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    described = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    most = _LEAST + 8 * files  # one bit a weight
    if described > most:
        raise ModelError(
            "A model's config.json describes more weights than its files can hold",
            received=described,
            accepted=f"up to {most} for files of {files} bytes",
        )


def _layers(config: dict[str, Any]) -> Iterator[int]:
    """The numbers of layers in a configuration and its parts."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _layers(value)
        elif isinstance(value, int) and ("layers" in name or name == "depth"):
            yield value


def _model(path: Path, source: ModelSource) -> PreTrainedModel:
    device_map = source.device_map or default_device_map()
    model, report = AutoModelForImageTextToText.from_pretrained(
        path,
        dtype=_dtype(path, source.dtype, device_map),
        device_map=device_map,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        **source.model_kwargs,
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError("A checkpoint lacks weights of its model", received=missing, remedy=f"look into {path}")
    pack_vision_attention(model)
    return model


def default_device_map() -> Any:
    """Every GPU there is, in a process of a launch (`accelerate launch`, `torchrun`) its own, or None without one."""
    if not torch.cuda.is_available():
        return None
    return {"": int(os.environ["LOCAL_RANK"])} if "LOCAL_RANK" in os.environ else "auto"


def _dtype(path: Path, dtype: str, device_map: Any) -> str:
    # Half precision saves nothing on a small model and is slow on most processors.
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    return "float32" if dtype == "auto" and device_map is None and size < _SMALL else dtype


def _with_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put a LoRA adapter on a model and merge it, or leave it unmerged on quantised weights, where merging loses."""
    adapted = PeftModel.from_pretrained(model, folder)
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        stored = set(file.keys())
    wanted = set(get_peft_model_state_dict(adapted))
    if stored != wanted:
        differing = sorted(stored ^ wanted)
        raise ModelError(
            "An adapter does not fit its model", received=differing, remedy="load the base it was trained on"
        )
    return adapted if getattr(model, "is_quantized", False) else adapted.merge_and_unload()


def _plain_generation(model: PreTrainedModel, processor: ProcessorMixin) -> GenerationConfig:
    """Only the end and padding ids: a checkpoint's own sampling settings would make greedy answers not greedy."""
    tokenizer, ends = processor.tokenizer, model.generation_config.eos_token_id
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return GenerationConfig(
        eos_token_id=tokenizer.eos_token_id if ends is None else ends, pad_token_id=tokenizer.pad_token_id
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide the libraries' bars, load reports and notes to each other: what a model lacks is said by our own errors."""
    shown, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            # peft asks for this under the name that transformers has given up.
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
        ModelError: A keyword for the model is not JSON data, so it cannot be saved with a program.
    """
    state = {name: getattr(source, name) for name in ModelSource.__slots__}
    try:
        return json.loads(json.dumps(state))
    except TypeError as error:
        raise ModelError("A model's arguments cannot be saved", received=state, remedy=str(error)) from error
