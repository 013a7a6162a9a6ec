"""A stand-in for the package vLLM: the parts that `programs/seams/vllm_seams.py` uses, run by transformers.

Names, arguments, checks and results follow vLLM's source (`vllm/entrypoints/llm.py`, `sampling_params.py`,
`lora/request.py`, `outputs.py`, `config/lora.py`). An unknown argument is an error, as there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from llguidance import LLMatcher

from gmner.programs.engine.constrained_sampler import SamplerRow, Sampling
from gmner.programs.engine.generation import Generator
from gmner.programs.engine.grammar import Grammar
from gmner.programs.models.weights import ModelSource, load_weights
from gmner.programs.seams.outlines_seams import guidance_tokenizer

ARGUMENTS = {
    "dtype", "max_num_seqs", "load_format", "structured_outputs_config", "logprobs_mode", "enable_lora", "max_loras",
    "max_lora_rank", "max_model_len", "gpu_memory_utilization", "enable_prefix_caching", "mm_processor_cache_gb",
    "enforce_eager", "tensor_parallel_size", "quantization",
}  # fmt: skip


class VLLMValidationError(ValueError):
    """`vllm.exceptions.VLLMValidationError`."""


@dataclass
class StructuredOutputsParams:
    """`vllm.sampling_params.StructuredOutputsParams`."""

    json: str | dict | None = None
    grammar: str | None = None


@dataclass
class SamplingParams:
    """`vllm.SamplingParams` with its defaults and checks."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: str | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    structured_outputs: StructuredOutputsParams | None = None
    logit_bias: dict[int, float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 2:
            raise VLLMValidationError(f"temperature must be in [0, 2], got {self.temperature}.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise VLLMValidationError(f"max_tokens must be at least 1, got {self.max_tokens}.")


@dataclass
class LoRARequest:
    """`vllm.lora.request.LoRARequest`."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""


class LLM:
    """`vllm.LLM`; keeps what it was asked."""

    made: list[LLM]
    thought = ""
    """What every thinking is, for prompts with a stop text."""

    def __init__(self, model: str, **options: Any) -> None:
        assert not options.keys() - ARGUMENTS
        assert options.get("max_lora_rank", 8) in (1, 8, 16, 32, 64, 128, 256, 320, 512)
        self.model, self.options, self.calls = model, options, list[Any]()
        self._generators: dict[str | None, Generator] = {}
        type(self).made.append(self)

    def generate(
        self,
        prompts: Sequence[dict[str, Any]],
        sampling_params: Sequence[SamplingParams],
        *,
        use_tqdm: bool = True,
        lora_request: LoRARequest | None = None,
    ) -> list[Any]:
        self.calls.append((list(prompts), list(sampling_params), lora_request))
        if len(prompts) != len(sampling_params):
            raise ValueError("The lengths of prompts and params must be the same.")
        assert lora_request is None or self.options["enable_lora"]
        generator = self._generator(None if lora_request is None else lora_request.lora_path)
        inputs = [self._inputs(generator, prompt) for prompt in prompts]  # all are checked first
        return [self._answer(generator, *row) for row in zip(inputs, sampling_params, strict=True)]

    def _generator(self, adapter: str | None) -> Generator:
        if adapter not in self._generators:
            self._generators[adapter] = Generator(load_weights(ModelSource(self.model, adapter)), cached_images=0)
        return self._generators[adapter]

    def _inputs(self, generator: Generator, prompt: dict[str, Any]) -> Any:
        """Expand each placeholder to the tokens of its image; like vLLM by token ids, not by text."""
        assert prompt.keys() <= {"prompt_token_ids", "multi_modal_data"}
        processor, images = generator.encoder.processor, prompt.get("multi_modal_data", {}).get("image", [])
        marker = getattr(processor, "image_token", None)
        marker_id = processor.tokenizer.convert_tokens_to_ids(marker)

        def read(images: list[Any]) -> Any:
            text = [marker * len(images) or " "]
            return processor(text=text, images=images or None, add_special_tokens=False, return_tensors="pt")

        expanded = iter([read([image])["input_ids"][0].tolist() for image in images])
        rows = [next(expanded) if token == marker_id else [token] for token in prompt["prompt_token_ids"]]
        assert next(expanded, None) is None
        inputs, ids = read(images), torch.tensor([[token for row in rows for token in row]])
        inputs["input_ids"], inputs["attention_mask"] = ids, torch.ones_like(ids)
        if "mm_token_type_ids" in inputs:
            inputs["mm_token_type_ids"] = (ids == marker_id).long()
        most, length = self.options.get("max_model_len") or 4096, inputs["input_ids"].shape[1]
        if length > most:
            raise VLLMValidationError(f"This model's maximum context length is {most} tokens, the prompt has {length}.")
        return inputs

    def _answer(self, generator: Generator, inputs: Any, params: SamplingParams) -> Any:
        tokenizer, prompt = generator.encoder.tokenizer, inputs["input_ids"][0].tolist()
        if params.stop is not None:
            ids = tokenizer.encode(self.thought + params.stop, add_special_tokens=False)[: params.max_tokens]
            return _output(prompt, ids, None)
        grammar = None
        if params.structured_outputs is not None:
            llg = guidance_tokenizer(generator._grammars._backend)
            grammar = Grammar(LLMatcher(llg, params.structured_outputs.grammar), llg)
        sampling = Sampling(params.temperature, params.top_p, params.top_k, params.seed)
        row = SamplerRow(grammar, params.max_tokens - (grammar is not None), sampling, [])
        batch = generator.new_batch()
        batch.add(generator._vision_cache(inputs), [0], [row])
        while batch:
            batch.step()
        ids = [*row.written, *([] if row.truncated else [tokenizer.eos_token_id])]
        logprobs = None
        if params.logprobs is not None:
            values = [*row.logprobs, 0.0][: len(ids)]
            logprobs = [{token: SimpleNamespace(logprob=value)} for token, value in zip(ids, values, strict=True)]
        return _output(prompt, ids, logprobs)


def _output(prompt: list[int], ids: list[int], logprobs: Any) -> Any:
    return SimpleNamespace(prompt_token_ids=prompt, outputs=[SimpleNamespace(token_ids=ids, logprobs=logprobs)])


def install(monkeypatch: pytest.MonkeyPatch, *, device: bool = True) -> type[LLM]:
    """Put the stand-in in the place of vLLM, with a device or without one; `LLM.made` lists what was loaded."""
    platform = SimpleNamespace(is_unspecified=lambda: not device)
    modules = {
        "vllm": {"LLM": LLM, "SamplingParams": SamplingParams},
        "vllm.sampling_params": {"StructuredOutputsParams": StructuredOutputsParams},
        "vllm.platforms": {"current_platform": platform},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(LLM, "made", [], raising=False)
    monkeypatch.setattr(LLM, "thought", "")
    return LLM
