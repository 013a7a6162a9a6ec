"""`ConstrainedGRPOTrainer`: TRL's GRPOTrainer with the rollouts of CVO, sampled by transformers or by vLLM."""

from __future__ import annotations

import inspect
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from transformers import LogitsProcessorList
from transformers.integrations import is_deepspeed_zero3_enabled, is_fsdp_managed_module
from trl.data_utils import prepare_multimodal_messages

from gmner.optimizers.training.group_sampling import GroupSampling, Rollouts
from gmner.optimizers.training.merging import merged
from gmner.optimizers.training.rollouts import FOLDER
from gmner.optimizers.training.shared_prompts import SharedPrompts, shares_prompts
from gmner.optimizers.training.trainable import is_small
from gmner.optimizers.training.trl_seams import GENERATED, OpenGRPOTrainer, Row, scoring_labels_only
from gmner.programs.engine.constrained_sampler import ConstrainedSampler, SamplerRow, Sampling
from gmner.programs.engine.decoding import Decoding
from gmner.programs.engine.encoding import deduplicated
from gmner.programs.engine.grammar import GrammarCompiler
from gmner.programs.models.families import picture_ids
from gmner.programs.seams.vllm_seams import FORBIDDEN, under_schemas
from gmner.signatures.errors import ModelError

_IMAGE_INPUTS = (
    "pixel_values", "image_grid_thw", "pixel_attention_mask", "image_sizes", "spatial_shapes", "image_position_ids",
    "batch_num_images",
)  # fmt: skip


class ConstrainedGRPOTrainer(OpenGRPOTrainer):
    """TRL's GRPOTrainer, with rollouts that follow the JSON schema of each row if the rows have a column `schema`.

    With transformers, a prompt is prefilled once for all its answers, and finished rows leave the batch; see
    `gmner.programs.engine.decoding`. Prompts with and without images may share a batch.

    vLLM in this process gets each prompt with one placeholder for each image, and repeats it as often as the image
    requires. TRL would pass the training prompt, in which the placeholders are already repeated, so that vLLM would
    repeat each of them (https://github.com/huggingface/trl/issues/6294). The prompt that vLLM has processed is compared
    with the training prompt.

    Args:
        *args: Arguments of `GRPOTrainer`.
        redraws: How many times groups with equal rewards are replaced in a step, see `GroupSampling`.
        **kwargs: Arguments of `GRPOTrainer`.
    """

    _schemas: list[str] | None = None
    _compiler: GrammarCompiler | None = None
    _copies: list[int] | None = None
    _prompt_texts: list[str] | None = None  # for vLLM in this process

    def __init__(self, *args: Any, redraws: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        accelerator = self.accelerator
        self._shares = shares_prompts(accelerator.unwrap_model(self.model))
        self._sampling = GroupSampling(
            self.train_dataset, self.num_generations, redraws, self.args.seed, accelerator.process_index,
            accelerator.num_processes, gather_object if accelerator.num_processes > 1 else list,
            whole=self.use_vllm and self.vllm_mode == "server" and accelerator.num_processes > 1,
        )  # fmt: skip
        if self.use_vllm:
            self.forbid_in_vllm(dict.fromkeys(picture_ids(self.model.config), FORBIDDEN))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does. The table of the step's answers appears in the stage's folder once it is complete."""
        with self._whole_tables():
            super().log(logs, start_time)

    @contextmanager
    def _whole_tables(self) -> Iterator[None]:
        """Let TRL, which writes tables below `output_dir`, write them elsewhere; then move the complete files."""
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

    def score(self, rows: list[Row]) -> dict[str, Any]:
        """Sample and score answers; in training, groups with equal rewards are replaced first."""
        rollouts = None
        if self._sampling.redraws and self.model.training:
            rows, rollouts = self._differing(rows)
        self._schemas = _schemas_of(rows)
        for name in ("post", "call"):
            if name in rows[0]:
                self.add_column(name, [row[name] for row in rows])
        if rollouts is None:
            return super().score(rows)
        for name in dict.fromkeys(name for row in rollouts.logged for name in row):
            self.add_column(name, [row.get(name) for row in rollouts.logged])
        return self.score_sampled(rows, rollouts[: len(GENERATED)], torch.stack(rollouts.rewards))

    def _differing(self, inputs: list[Row]) -> tuple[list[Row], Rollouts]:
        """Rows whose groups have different rewards, and their rollouts; every reward is computed once."""

        def sample(rows: list[Row]) -> tuple[Rollouts, torch.Tensor]:
            self._schemas = _schemas_of(rows)
            prompts = [row["prompt"] for row in rows]
            if any(row.get("images") for row in rows):
                prompts = [prepare_multimodal_messages(row["prompt"], images=row["images"]) for row in rows]
            sampled = dict(zip(GENERATED, self.sample(prompts), strict=True))
            rewards, columns = self.rewards_of(rows, prompts, sampled["completions"], sampled["completion_ids"])
            first = self.accelerator.process_index * len(rows)
            logged = [{name: values[place] for name, values in columns.items()} for place in range(len(rows))]
            rollouts = Rollouts(**sampled, rewards=list(rewards[first : first + len(rows)]), logged=logged)
            return rollouts, self._total(rewards)

        rows, rollouts, used, drawn = self._sampling.draw(inputs, self.state.global_step, sample)
        self.add_figure("groups/used", used)
        self.add_figure("groups/drawn", drawn)
        return rows, rollouts

    def _total(self, rewards: torch.Tensor) -> torch.Tensor:
        """The weighted sum of each row's rewards, as TRL computes it, (rows,); NaN: no reward applies."""
        total = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        return total.masked_fill(rewards.isnan().all(dim=1), torch.nan)

    def prepare(self, batch: Any) -> Any:
        """Prepare a micro-batch; the answers to one prompt, which share its computation, stay together if they can."""
        # TRL shuffles the answers before it splits them. If all parts belong to one optimizer step, the order does not
        # change what is learned.
        if self.args.steps_per_generation > self.args.gradient_accumulation_steps:
            return super().prepare(batch)
        return self.prepare_in_order(batch)

    def token_log_probs(self, model: Any, *args: Any, **options: Any) -> Any:
        """Log probabilities and entropies of the answers; each prompt is computed once if the model allows it."""
        bare, called = self.accelerator.unwrap_model(model), _without_empty_images(model)
        base = bare.get_base_model() if isinstance(bare, PeftModel) else bare
        if options.get("num_images") is not None and "batch_num_images" in inspect.signature(base.forward).parameters:
            called = _with_image_counts(called, options["num_images"])
        if self._shares and not options.get("compute_aux_loss"):
            called = SharedPrompts(called, bare, by_row=True)
        with scoring_labels_only():
            return super().token_log_probs(called, *args, **options)

    def tokenize(self, prompts: list[Any]) -> tuple[list[Any], list[Any] | None, dict[str, Any]]:
        """Encode prompts, equal ones once."""
        self._copies = self._prompt_texts = None
        if self._uses_own_loop():
            prompts, self._copies = deduplicated(prompts)
        ids, images, fields = super().tokenize(prompts)
        if self.use_vllm and self.vllm_mode == "colocate":
            self._prompt_texts = self.processing_class.apply_chat_template(
                prompts, chat_template=self.chat_template, add_generation_prompt=True, **self.chat_template_kwargs
            )
        # TRL has None for a row without images among rows with some, which processors do not accept.
        images = None if images is None else [row or [] for row in images]
        if self._copies is not None:
            ids = [ids[place] for place in self._copies]
            images = None if images is None else [images[place] for place in self._copies]
        return ids, images, fields  # only `answer` reads the fields: one entry for each distinct prompt

    def _uses_own_loop(self) -> bool:
        """Whether rollouts use our decoding loop, which cannot run if all processes must take the same steps."""
        if self.use_vllm or self.use_transformers_continuous_batching:
            return False
        usual_cache = self.args.cache_implementation in (None, "dynamic", "dynamic_full")
        return usual_cache and not (is_deepspeed_zero3_enabled() or is_fsdp_managed_module(self.model_wrapped))

    def answer(self, prompt_ids: list[Any], images: Any, *args: Any, **options: Any) -> tuple[list[Any], Any]:
        """Sample an answer to each prompt, under the schema of its row."""
        if self.use_vllm:
            return self._answer_with_vllm(prompt_ids, images, *args, **options)
        model, extra = self.accelerator.unwrap_model(self.model), dict[str, Any]()
        if self._copies is not None:
            extra["custom_generate"] = Decoding(self._copies)
            prompt_ids = [prompt_ids[self._copies.index(place)] for place in range(max(self._copies) + 1)]
        if self._schemas is not None:
            extra["logits_processor"] = LogitsProcessorList([self._sampler(model, self._schemas)])
        with merged(model) if is_small(model) else nullcontext():
            return self.answer_with(model, extra, prompt_ids, images, *args, **options)

    def _answer_with_vllm(
        self, prompt_ids: list[Any], images: Any, *args: Any, **options: Any
    ) -> tuple[list[Any], Any]:
        texts, schemas = self._prompt_texts, self._schemas

        def check(processed: list[Any]) -> None:
            if texts is not None:
                for trained, seen in zip(prompt_ids, processed, strict=True):
                    _check_same_prompt(trained, seen)

        constrain = None if schemas is None else partial(under_schemas, schemas=schemas)
        given = prompt_ids
        if texts is not None:
            given = self.processing_class.tokenizer(texts, add_special_tokens=False)["input_ids"]
        images = None if images is None else [row or None for row in images]
        with self.vllm_calls(constrain, check):
            return super().answer(given, images, *args, **options)

    def _sampler(self, model: Any, schemas: Sequence[str]) -> ConstrainedSampler:
        """A sampler with a grammar for each row of this batch."""
        tokenizer = self.processing_class.tokenizer
        if self._compiler is None:
            self._compiler = GrammarCompiler(model, tokenizer, "llguidance")
        sampling, limit = Sampling(self.temperature), self.max_completion_length
        rows = [SamplerRow(self._compiler.compile(json.loads(schema)), limit, sampling) for schema in schemas]
        return ConstrainedSampler(rows, list(self.eos_token_ids), tokenizer.eos_token_id)


def _without_empty_images(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model without image inputs if no post of a micro-batch has an image; TRL passes empty ones."""

    def called(**inputs: Any) -> Any:
        pixels = inputs.get("pixel_values")
        # No row, or the padding of the Idefics processors, (rows, tiles, ...). Zeros elsewhere may be a black image.
        if pixels is not None and (pixels.numel() == 0 or (pixels.ndim == 5 and not pixels.any())):
            inputs = {name: value for name, value in inputs.items() if name not in _IMAGE_INPUTS}
        return model(**inputs)

    return called


def _with_image_counts(model: Callable[..., Any], counts: Sequence[int]) -> Callable[..., Any]:
    """The model with the number of images of each row, which TRL computes and does not pass on.

    LLaVA-OneVision splits the image of a row into tiles only if it is the only one.

    Args:
        model: The model. TRL calls it with the rows in order, a few at a time.
        counts: The number of images of each row.
    """
    left = iter(counts)

    def called(**inputs: Any) -> Any:
        row_counts = list(islice(left, len(inputs["input_ids"])))
        return model(**inputs, batch_num_images=torch.tensor(row_counts, device=inputs["input_ids"].device))

    return called


def _schemas_of(rows: Sequence[Row]) -> list[str] | None:
    return [row["schema"] for row in rows] if "schema" in rows[0] else None


def _check_same_prompt(trained: Sequence[int], processed: Sequence[int]) -> None:
    """Raise `ModelError` if vLLM has processed another prompt than the one that is trained on."""
    if list(trained) != list(processed):
        pairs = enumerate(zip(trained, processed, strict=False))
        equal = next((n for n, (ours, theirs) in pairs if ours != theirs), min(len(trained), len(processed)))
        raise ModelError(
            "The prompt that vLLM has processed differs from the training prompt",
            received=f"{len(processed)} tokens, of which the first {equal} are equal",
            accepted=f"{len(trained)} tokens",
            remedy="Leave out use_vllm, or use a vLLM that prepares images like this version of transformers",
        )
