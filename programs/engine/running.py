"""`RunningBatch`: continuous batching on one model. Prompts are added, and finished answers removed, between steps.

A fixed batch takes as many steps as its longest answer, with fewer and fewer active rows. On a GPU a step costs about
the same for one row as for many, so finished rows are replaced by new prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from gmner.programs.engine.batch import COMPACT_BELOW, Batch
from gmner.programs.engine.constrained_sampler import ConstrainedSampler, SamplerRow
from gmner.programs.engine.widths import alike


class RunningBatch:
    """The active rows of a model. Not thread-safe, and unusable after `step` has raised.

    Args:
        model: The model.
        end_ids: Token ids that end an answer; the first one is written when an answer is cut off.
        never: Token ids that are always masked.

    Attributes:
        broken: Whether `add` raised while it changed the batch. An earlier error of `add` leaves the rows unchanged.
    """

    def __init__(self, model: PreTrainedModel, end_ids: Sequence[int], never: Sequence[int] = ()) -> None:
        self._model, self._end_ids, self._never = model, list(end_ids), list(never)
        self._batch: Batch | None = None
        self._scores = torch.empty(0)  # logits of the next token, (rows, vocabulary)
        self._sampler = self._sampler_of([])
        self.broken = False

    def __len__(self) -> int:
        """Number of active answers."""
        return sum(not row.ended for row in self._sampler.rows)

    @property
    def joinable(self) -> bool:
        """Whether prompts can be added now."""
        return self._batch is None or self._batch.joinable

    def takes(self, narrowest: int, widest: int) -> bool:
        """Whether prompts with these smallest and largest widths (tokens) can join without too much padding."""
        if self._batch is None:
            return True
        rows = self._sampler.rows
        sizes = [row.length for row in rows if not row.ended]
        return self.joinable and alike(min(narrowest, *sizes, widest), max(widest, *sizes, narrowest))

    def add(self, inputs: Mapping[str, Any], copies: Sequence[int], rows: Sequence[SamplerRow]) -> None:
        """Prefill prompts and add their rows to the batch.

        Args:
            inputs: The prompts, as inputs of `generate`.
            copies: For each answer the row of its prompt.
            rows: The state of each answer.
        """
        prefill = _Prefill(copies)
        with torch.inference_mode():
            self._model.generate(
                **{name: self._on_device(value) for name, value in inputs.items()},
                do_sample=False, max_new_tokens=1, cache_implementation="dynamic", custom_generate=prefill,
            )  # fmt: skip
            sampler = self._sampler_of(rows)
            # Batch, scores and sampler change one after another: an error in between leaves them inconsistent.
            self.broken = True
            if self._batch is None:
                self._batch, self._scores, self._sampler = prefill.batch, prefill.scores, sampler
            else:
                self._remove_ended()
                self._batch.join(prefill.batch)
                self._scores = torch.cat([self._scores, prefill.scores])
                self._sampler.join(rows)
            self.broken = False

    def step(self) -> list[SamplerRow]:
        """Generate one token of each answer. Returns the rows that have ended with it."""
        if self._batch is None:
            return []
        active = [row for row in self._sampler.rows if not row.ended]
        with torch.inference_mode():
            # The sampler masks in place, and half-precision scores round close probabilities together.
            scores = self._scores.to(copy=True, dtype=torch.float32)
            tokens = self._sampler.draw(self._batch.ids, scores)
            self._batch.ids = torch.cat([self._batch.ids, tokens[:, None]], -1)
            if len(self) and all(row.ended or row.full for row in active):
                # Whether these answers are complete depends on their grammars alone.
                self._sampler.draw(self._batch.ids, torch.zeros_like(scores))
            if not len(self):
                self._batch = None
            else:
                if len(self) <= COMPACT_BELOW * len(self._sampler.rows):
                    self._remove_ended()
                self._scores = self._batch.step()
        return [row for row in active if row.ended]

    def _remove_ended(self) -> None:
        """Remove the rows that have ended from batch, scores and sampler."""
        rows = [place for place, row in enumerate(self._sampler.rows) if not row.ended]
        if self._batch is not None and len(rows) < len(self._sampler.rows):
            self._batch.keep(rows)
            self._sampler.keep(rows)
            self._scores = self._scores[rows]

    def _on_device(self, value: Any) -> Any:
        """Move a tensor to the model's device; floats also to its dtype."""
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)

    def _sampler_of(self, rows: Sequence[SamplerRow]) -> ConstrainedSampler:
        return ConstrainedSampler(rows, self._end_ids, self._end_ids[0], self._never)


class _Prefill:
    """A `custom_generate` that only prefills.

    Calling the model without `generate` would skip what it prepares for each family: cache, masks and positions.
    """

    batch: Batch
    scores: torch.Tensor

    def __init__(self, copies: Sequence[int]) -> None:
        self._copies = copies

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        self.batch = Batch(model, input_ids, model_kwargs)
        self.scores = self.batch.read(generation_config, self._copies)
        return input_ids
