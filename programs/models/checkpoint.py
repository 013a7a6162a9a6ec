"""`Checkpoint`: a checkpoint on disk with its processor and adapter, whose weights another library loads."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import GenerationConfig, ProcessorMixin

from gmner.programs.models.families import ModelProfile, Thinking, check_family, family_of, profile_of
from gmner.programs.models.fingerprint import fingerprint
from gmner.programs.models.processors import thinking_processor
from gmner.programs.models.weights import (
    ModelSource,
    check_dtype,
    config_of,
    context_of,
    end_ids_of,
    loading_errors,
    quietly,
    resolve_adapter,
    resolve_model,
)
from gmner.signatures.errors import ModelError

_MERGE = "Merge it first: `gmner merge BUNDLE -o FOLDER`, then load_vlm(FOLDER, engine='vllm')"
_UNSUPPORTED = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern")  # settings of LoRA


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose weights are not loaded by transformers.

    Attributes:
        config: Its configuration.
        processor: Its processor, with left padding.
        profile: Its coordinate convention, prompt wording and resize rule.
        path: The folder of the base checkpoint.
        adapter_path: The folder of the adapter, or None.
        fingerprint: See `gmner.programs.models.fingerprint`; the same as that of the loaded `Weights`.
        source: The arguments it was loaded with.
        end_ids: Token ids that end an answer; the tokenizer's end token is the first.
        thinking: The markers of its thinking, whether it is switched on or off; None: the model does not think.
    """

    config: Any
    processor: ProcessorMixin
    profile: ModelProfile
    path: Path
    adapter_path: Path | None
    fingerprint: str
    source: ModelSource
    end_ids: list[int]
    thinking: Thinking | None = None

    @property
    def context(self) -> int | None:
        """Context length in tokens, prompt and answer together; None: not in the configuration."""
        return context_of(self.config)


def load_checkpoint(source: ModelSource) -> Checkpoint:
    """Read a checkpoint without its weights.

    Raises:
        ModelError: See `gmner.programs.models.weights.load_weights`; missing and surplus weights are not noticed.
    """
    check_dtype(source.dtype)
    path = resolve_model(source.model, source.revision)
    adapter = None if source.adapter is None else resolve_adapter(source.adapter)
    config = config_of(path)
    check_family(config.model_type, path, source.profile)
    with loading_errors("The model cannot be loaded", path), quietly():
        processor, thinking = thinking_processor(path, config.model_type, thinking=source.thinking)
        processor.tokenizer.padding_side = "left"
        profile = profile_of(config.model_type, processor, path, source.profile)
        ends = end_ids_of(processor, _generation(path, config))
        name = fingerprint(path, *([] if adapter is None else [adapter]))
    return Checkpoint(config, processor, profile, path, adapter, name, source, ends, thinking)


def _generation(path: Path, config: Any) -> GenerationConfig:
    if (path / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(path)
    return GenerationConfig.from_model_config(config)


def unmerged_rank(checkpoint: Checkpoint) -> int | None:
    """The rank of a checkpoint's LoRA adapter, after a check that it can be used without merging; None: no adapter.

    vLLM applies one rank and one factor to the linear layers of the language model.

    Raises:
        ModelError: The adapter is of another kind, or trains the vision tower.
    """
    folder = checkpoint.adapter_path
    if folder is None:
        return None
    with loading_errors("The adapter cannot be read", folder):
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            names = [name.removeprefix("base_model.model.").partition(".lora_")[0] for name in file.keys()]
    unsupported = {name: config[name] for name in _UNSUPPORTED if config.get(name)}
    if config.get("bias", "none") != "none":
        unsupported["bias"] = config["bias"]
    if config.get("peft_type") != "LORA" or unsupported:
        received = unsupported or {"peft_type": config.get("peft_type")}
        raise ModelError("vLLM cannot use this adapter without merging it", received=received, remedy=_MERGE)
    modules = family_of(checkpoint.config.model_type).vision_modules
    if vision := [name for name in names if re.fullmatch(modules, name)]:
        fact = "The adapter trains the vision tower, where vLLM does not apply adapters"
        raise ModelError(fact, received=vision[0], accepted="an adapter of the language model", remedy=_MERGE)
    return int(config["r"])
