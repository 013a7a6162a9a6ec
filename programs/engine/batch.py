"""A batch under generation: prompt ids, KV cache and position state, with rows that can be removed and added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import GenerationConfig, PreTrainedModel

from gmner.data.images.trimming import trim
from gmner.programs.seams import transformers_seams as seams

COMPACT_BELOW = 0.75
"""Finished rows are removed once at most this share of the rows is active.

A finished row costs compute at every step; removing rows copies the KV cache once.
"""

_TRIM_EVERY, _LARGE_CACHE = 4, 64 * 2**20
# Steps between two calls of `trim`, and the bytes of the KV cache above which it is called. The cache grows at every
# step, so glibc cannot reuse the blocks that the step before freed, and takes new memory each time.

_PER_TOKEN_INPUTS = ("attention_mask", "token_type_ids", "mm_token_type_ids")
# Inputs of shape (rows, length), one token longer than the ids between two steps; zero at padding.


class Batch:
    """Left-padded rows with their KV cache.

    Args:
        model: The model.
        ids: The prompts, (rows, length).
        model_kwargs: The model's other inputs, as `generate` prepared them.

    Attributes:
        ids: Prompts and the tokens generated so far, (rows, length).
    """

    def __init__(self, model: PreTrainedModel, ids: torch.Tensor, model_kwargs: dict[str, Any]) -> None:
        self.model, self.ids = model, ids
        self._model_kwargs = {**model_kwargs, **_without_router_logits(model)}
        self._rope_deltas: dict[torch.nn.Module, torch.Tensor] = {}
        self._steps = 0

    def read(self, config: GenerationConfig, copies: Sequence[int] | None) -> torch.Tensor:
        """Prefill the prompts, and repeat those that have several answers.

        Args:
            config: The generation config that `generate` prepared.
            copies: For each answer the row of its prompt; None: one answer a row.

        Returns:
            The logits of the first token, (answers, vocabulary).
        """
        logits = self._next_logits(seams.prefill(self.model, self.ids, config, self._model_kwargs))
        # Keeping the pixels would hold their memory until the batch ends.
        self._model_kwargs = {
            name: value for name, value in self._model_kwargs.items() if name not in seams.PREFILL_ONLY_INPUTS
        }
        self._rope_deltas = seams.rope_deltas(self.model)
        if copies is None or list(copies) == list(range(len(self.ids))):
            return logits
        self.keep(copies)
        return logits[list(copies)]

    def step(self) -> torch.Tensor:
        """Run the model on the last token of each row.

        Returns:
            The logits of the next token, (rows, vocabulary).
        """
        seams.restore_rope_deltas(self._rope_deltas)
        self._steps += 1
        if self._steps % _TRIM_EVERY == 0 and seams.cpu_bytes(self._cache) > _LARGE_CACHE:
            trim()
        return self._next_logits(seams.next_outputs(self.model, self.ids, self._model_kwargs))

    def _next_logits(self, outputs: Any) -> torch.Tensor:
        self._model_kwargs = seams.updated_inputs(self.model, outputs, self._model_kwargs)
        return outputs.logits[:, -1].to(self.ids.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Select rows in place; a row may be selected several times."""
        row_count, selected = len(self.ids), torch.tensor(rows, device=self.ids.device)
        self.ids = self.ids[selected]
        for name in self._per_token_inputs():
            self._model_kwargs[name] = self._model_kwargs[name][selected]
        positions = self._model_kwargs.get("position_ids")
        # Positions are (rows, length), or (planes, rows, length) with M-RoPE. Some models share one row of positions
        # among all rows; that row stays.
        if positions is not None and positions.shape[-2] == row_count:
            self._model_kwargs["position_ids"] = positions[..., selected, :]
        seams.select_rows(self._cache, selected)
        self._rope_deltas = {
            m: deltas[selected] if len(deltas) == row_count else deltas for m, deltas in self._rope_deltas.items()
        }

    @property
    def joinable(self) -> bool:
        """Whether rows of another batch can be added.

        Needs the complete KV cache of every row: sliding-window and linear-attention layers drop the past, and their
        states of different rows cannot be aligned by padding.
        """
        positions = self._model_kwargs.get("position_ids")
        positions_per_row = positions is None or positions.shape[-2] == len(self.ids)
        return positions_per_row and seams.has_whole_past(self._cache)

    def join(self, other: Batch) -> None:
        """Append the rows of another batch of the same model; both must be between two steps."""
        for batch in (self, other):
            # `generate` leaves out a mask that masks nothing, but the padding added below has to be masked.
            if batch._model_kwargs.get("attention_mask") is None:
                rows, length = batch.ids.shape
                batch._model_kwargs["attention_mask"] = batch.ids.new_ones(rows, length + 1)
        self._drop_common_padding()
        width = max(self.ids.shape[1], other.ids.shape[1])
        for batch in (self, other):
            batch._pad_left(width - batch.ids.shape[1])
        self.ids = torch.cat([self.ids, other.ids])
        for name in self._per_token_inputs():
            self._model_kwargs[name] = torch.cat([self._model_kwargs[name], other._model_kwargs[name]])
        if self._model_kwargs.get("position_ids") is not None:
            self._model_kwargs["position_ids"] = torch.cat(
                [self._model_kwargs["position_ids"], other._model_kwargs["position_ids"]], -2
            )
        seams.append_rows(self._cache, other._cache)
        self._rope_deltas = {
            module: torch.cat([deltas, other._rope_deltas[module]]) for module, deltas in self._rope_deltas.items()
        }

    def _drop_common_padding(self) -> None:
        """Remove the columns on the left that are padding in every row, which rows that left may have needed."""
        used = self._model_kwargs["attention_mask"].any(0)
        first = int(used.int().argmax())
        if first:
            self.ids = self.ids[:, first:]
            for name in (*self._per_token_inputs(), "position_ids"):
                if self._model_kwargs.get(name) is not None:
                    self._model_kwargs[name] = self._model_kwargs[name][..., first:]
            seams.drop_left(self._cache, first)

    def _pad_left(self, by: int) -> None:
        """Add masked columns on the left, so that the last tokens of both batches share a column."""
        if by:
            self.ids = functional.pad(self.ids, (by, 0))
            for name in (*self._per_token_inputs(), "position_ids"):
                if self._model_kwargs.get(name) is not None:
                    self._model_kwargs[name] = functional.pad(self._model_kwargs[name], (by, 0))
            seams.pad_left(self._cache, by)

    def _per_token_inputs(self) -> list[str]:
        return [name for name in _PER_TOKEN_INPUTS if self._model_kwargs.get(name) is not None]

    @property
    def _cache(self) -> Any:
        return self._model_kwargs["past_key_values"]


def _without_router_logits(model: PreTrainedModel) -> dict[str, bool]:
    """The input that keeps a mixture of experts from returning the logits of its routers.

    A trainer may have switched them on in the model's config. Then the model computes the loss of the routers too, and
    this fails for steps with a cache: the attention mask is longer than the tokens.
    """
    on = getattr(model.config.get_text_config(), "output_router_logits", False)
    return {"output_router_logits": False} if on else {}
