"""TRL's GRPOTrainer with the rollouts that CVO needs, made by transformers or by vLLM."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather, gather_object
from transformers import LogitsProcessorList
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.integrations.fsdp import is_fsdp_managed_module
from trl import GRPOTrainer
from trl.data_utils import prepare_multimodal_messages
from trl.trainer import grpo_trainer

from gmner.optimizers.training.group_sampling import GroupSampling, Rollouts
from gmner.optimizers.training.merging import merged
from gmner.optimizers.training.rollouts import FOLDER
from gmner.optimizers.training.shared_prompts import SharedPrompts, shares_prompts
from gmner.optimizers.training.trainable import is_small
from gmner.programs.engine.constrained_sampler import ConstrainedSampler, SamplerRow, Sampling
from gmner.programs.engine.decoding import Decoding
from gmner.programs.engine.encoding import deduplicated
from gmner.programs.engine.grammar import GrammarCompiler
from gmner.programs.models.families import picture_ids
from gmner.signatures.errors import ModelError
from gmner.signatures.schema import served_schema

_SAMPLED = 8  # of a Rollouts what TRL's `_generate` returns
_PICTURES = ("pixel_values", "image_grid_thw", "pixel_attention_mask", "image_sizes", "spatial_shapes")
_NEVER = -100.0  # what vLLM adds to the logit of a token that no answer has


class ConstrainedGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer whose rollouts follow each row's own JSON schema, where the rows have a `schema` column.

    Rollouts by `generate` read each prompt once for all its answers, and rows that have ended leave the batch; see
    `gmner.programs.engine.decoding`. Prompts with and without pictures may share a batch.

    vLLM in this process is given each prompt with one placeholder a picture: it makes as many of it as the picture
    takes, and would do so again with the prompt that is trained on, which TRL gives it
    (https://github.com/huggingface/trl/issues/6294). What it read is compared with that prompt.
    """

    _schemas: list[str] | None = None
    _compiler: GrammarCompiler | None = None
    _copies: list[int] | None = None
    _written: list[str] | None = None  # the prompts as text, for vLLM

    def __init__(self, *args: Any, redraws: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        launched = self.accelerator
        self._shares = shares_prompts(launched.unwrap_model(self.model))
        self._sampling = GroupSampling(
            self.train_dataset, self.num_generations, redraws, self.args.seed, launched.process_index,
            launched.num_processes, gather_object if launched.num_processes > 1 else list,
            whole=self.use_vllm and self.vllm_mode == "server" and launched.num_processes > 1,
        )  # fmt: skip
        if self.use_vllm:
            never = dict.fromkeys(picture_ids(self.model.config), _NEVER)
            sampler = self.vllm_generation
            sampler.generation_kwargs = {"logit_bias": never, **sampler.generation_kwargs}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does; the table of the step's completions appears whole."""
        with self._whole_tables():
            super().log(logs, start_time)

    @contextmanager
    def _whole_tables(self) -> Iterator[None]:
        """TRL writes its tables below `output_dir`: let it do so elsewhere, and move them when they are written."""
        folder = self.args.output_dir
        if not self.log_completions or not self.accelerator.is_main_process:
            yield
            return
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{FOLDER}.", ignore_cleanup_errors=True) as work:
            (Path(work) / FOLDER).mkdir()
            self.args.output_dir = work
            try:
                yield
            finally:
                self.args.output_dir = folder
            (Path(folder) / FOLDER).mkdir(exist_ok=True)
            for file in (Path(work) / FOLDER).iterdir():
                os.replace(file, Path(folder) / FOLDER / file.name)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        drawn = None
        if self._sampling.redraws and self.model.training:
            inputs, drawn = self._drawn(inputs)
        self._schemas = _schemas_of(inputs)
        for name in ("post", "call"):
            if name in inputs[0]:
                self._log_completion_extra(name, [row[name] for row in inputs])
        if drawn is None:
            return super()._generate_and_score_completions(inputs)
        for name in dict.fromkeys(name for row in drawn.logged for name in row):
            self._log_completion_extra(name, [row.get(name) for row in drawn.logged])
        sampled, rewards = drawn[:_SAMPLED], gather(torch.stack(drawn.rewards))
        with (
            _instead(self, "_generate", lambda prompts: sampled),
            _instead(self, "_calculate_rewards", lambda *_: rewards),
        ):
            return super()._generate_and_score_completions(inputs)

    def _drawn(self, inputs: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Rollouts]:
        """Rows whose groups differ in what they earn, and their rollouts; each completion is paid once."""

        def sample(rows: list[dict[str, Any]]) -> tuple[Rollouts, torch.Tensor]:
            self._schemas = _schemas_of(rows)
            prompts = [row["prompt"] for row in rows]
            if any(row.get("images") for row in rows):
                prompts = [prepare_multimodal_messages(row["prompt"], images=row["images"]) for row in rows]
            sampled: Any = self._generate(prompts)
            columns: dict[str, list[Any]] = {}
            with _instead(
                self, "_log_completion_extra", lambda name, values: columns.setdefault(name, []).extend(values)
            ):
                earned = self._calculate_rewards(rows, prompts, sampled[3], sampled[1])
            first = self.accelerator.process_index * len(rows)
            logged = [{name: values[place] for name, values in columns.items()} for place in range(len(rows))]
            found = Rollouts._make([*sampled, list(earned[first : first + len(rows)]), logged])
            return found, self._total(earned)

        rows, rollouts, used, drawn = self._sampling.draw(inputs, self.state.global_step, sample)
        self._metrics["train"]["groups/used"].append(used)
        self._metrics["train"]["groups/drawn"].append(drawn)
        return rows, rollouts

    def _total(self, earned: torch.Tensor) -> torch.Tensor:
        """What each row earned in all, as TRL adds it up; NaN: no reward applies."""
        total = (earned * self.reward_weights.to(earned.device)).nansum(dim=1)
        return total.masked_fill(earned.isnan().all(dim=1), torch.nan)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        # TRL mixes the answers of a batch before it learns from them in parts. Where all parts belong to one optimizer
        # step their order is of no account, and answers to one prompt, which share it, stay together.
        if self.args.steps_per_generation > self.args.gradient_accumulation_steps:
            return super()._prepare_inputs(generation_batch)
        with _instead(grpo_trainer, "shuffle_sequence_dict", lambda batch: batch):
            return super()._prepare_inputs(generation_batch)

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **options: Any) -> Any:
        bare, called = self.accelerator.unwrap_model(model), _with_pictures(model)
        if self._shares and not options.get("compute_aux_loss"):
            called = SharedPrompts(called, bare, by_row=True)
        return super()._get_per_token_logps_and_entropies(called, *args, **options)

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        self._copies = self._written = None
        if self._decodes():
            prompts, self._copies = deduplicated(prompts)
        ids, images, fields = super()._tokenize_prompts(prompts)
        if self.use_vllm and self.vllm_mode == "colocate":
            self._written = self.processing_class.apply_chat_template(
                prompts, chat_template=self.chat_template, add_generation_prompt=True, **self.chat_template_kwargs
            )
        # TRL says None for a row without a picture beside rows with one; processors take an empty list only.
        images = None if images is None else [row or [] for row in images]
        if self._copies is not None:
            ids = [ids[place] for place in self._copies]
            images = None if images is None else [images[place] for place in self._copies]
        return ids, images, fields  # the fields, which only the rollouts read, are those of each prompt once

    def _decodes(self) -> bool:
        """Whether rollouts are made by our own loop: not where all processes must take the same steps."""
        if self.use_vllm or self.use_transformers_continuous_batching:
            return False
        usual_cache = self.args.cache_implementation in (None, "dynamic", "dynamic_full")
        return usual_cache and not (is_deepspeed_zero3_enabled() or is_fsdp_managed_module(self.model_wrapped))

    def _generate_single_turn(self, prompt_ids: list[Any], images: Any, *args: Any, **kwargs: Any) -> Any:
        if self.use_vllm:
            with self._through_vllm(prompt_ids):
                if self._written is not None:
                    prompt_ids = self._tokenizer(self._written, add_special_tokens=False)["input_ids"]
                images = None if images is None else [row or None for row in images]
                return super()._generate_single_turn(prompt_ids, images, *args, **kwargs)
        model, options = self.accelerator.unwrap_model(self.model), dict[str, Any]()
        if self._copies is not None:
            options["custom_generate"] = Decoding(self._copies)
            prompt_ids = [prompt_ids[self._copies.index(place)] for place in range(max(self._copies) + 1)]
        if self._schemas is not None:
            options["logits_processor"] = LogitsProcessorList([self._grammar(model, self._schemas)])
        generate, small = model.generate, is_small(model)
        with (
            merged(model) if small else nullcontext(),
            _instead(model, "generate", lambda *a, **k: generate(*a, **options, **k)),
        ):
            return super()._generate_single_turn(prompt_ids, images, *args, **kwargs)

    @contextmanager
    def _through_vllm(self, trained: list[list[int]]) -> Iterator[None]:
        """Have vLLM answer under the rows' schemas, and see that it reads the prompts that are trained on."""
        sampler = self.vllm_generation
        generate = sampler.generate

        def checked(**asked: Any) -> Any:
            found = generate(**asked)
            if self._written is not None:
                for ours, read in zip(trained, found[0], strict=True):
                    _check_read(ours, read)
            return found

        with _instead(sampler, "generate", checked):
            if self._schemas is None:
                yield
            else:
                with _instead(sampler.llm, "generate", _under(self._schemas, sampler.llm.generate)):
                    yield

    def _grammar(self, model: Any, schemas: Sequence[str]) -> ConstrainedSampler:
        """One Outlines grammar a row, composed for this batch."""
        if self._compiler is None:
            self._compiler = GrammarCompiler(model, self._tokenizer, "llguidance")
        sampling, limit = Sampling(self.temperature), self.max_completion_length
        rows = [SamplerRow(self._compiler.compile(json.loads(schema)), limit, sampling) for schema in schemas]
        return ConstrainedSampler(rows, list(self.eos_token_ids), self._tokenizer.eos_token_id)


def _with_pictures(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model without the empty pictures that TRL cuts for a part of a batch in which no post has a picture."""

    def called(**inputs: Any) -> Any:
        shown = inputs.get("pixel_values")
        if shown is not None and not shown.any():  # none, or the padding of the Idefics processors
            inputs = {name: value for name, value in inputs.items() if name not in _PICTURES}
        return model(**inputs)

    return called


def _schemas_of(rows: Sequence[dict[str, Any]]) -> list[str] | None:
    return [row["schema"] for row in rows] if "schema" in rows[0] else None


def _check_read(trained: Sequence[int], read: Sequence[int]) -> None:
    """Raise `ModelError` where vLLM made another prompt than the one that is trained on."""
    if list(trained) != list(read):
        pairs = enumerate(zip(trained, read, strict=False))
        alike = next((n for n, (ours, theirs) in pairs if ours != theirs), min(len(trained), len(read)))
        raise ModelError(
            "vLLM reads another prompt than the one that is trained on",
            received=f"{len(read)} tokens, the first {alike} alike",
            accepted=f"{len(trained)} tokens",
            remedy="leave out use_vllm, or take a vLLM that prepares pictures as this transformers does",
        )


def _under(schemas: Sequence[str], generate: Callable[..., Any]) -> Callable[..., Any]:
    """`vllm.LLM.generate` with a schema a prompt."""
    from vllm.sampling_params import StructuredOutputsParams

    def constrained(prompts: Any, sampling_params: Any, **kwargs: Any) -> Any:
        each = [sampling_params.clone() for _ in prompts]
        for params, schema in zip(each, schemas, strict=True):
            params.structured_outputs = StructuredOutputsParams(json=served_schema(json.loads(schema)))
        return generate(prompts, sampling_params=each, **kwargs)

    return constrained


@contextmanager
def _instead(owner: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Another method of this object for a while."""
    own = vars(owner).get(name)  # None: its class has it
    setattr(owner, name, method)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
