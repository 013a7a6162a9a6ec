"""The rows that a model writes at once, and what it keeps of them: rows leave a batch, and others join it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import GenerationConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.generation.utils import MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL

from gmner.data.images.trimming import trim

COMPACT_BELOW = 0.75
"""A batch is closed up when this share of its rows goes on, or less: a row costs at each step, closing up only once."""

_TRIMMED, _LARGE = 4, 64 * 2**20
# Steps after which memory goes back, and bytes of keys and values from which on it does. A step's keys and values are
# larger than the pieces that the step before gave back, so glibc takes new memory.

_BY_TOKEN = ("attention_mask", "token_type_ids", "mm_token_type_ids")
# What `generate` keeps as (rows, length), a token ahead of the ids; zero where a row is padded.

_PICTURES = frozenset(MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL)
# Not asked for again once the prompts are read; they would stay as long as the batch does.


class Batch:
    """Rows, padded on the left, and what the model keeps of them.

    Args:
        model: The model.
        ids: The prompts, (rows, length).
        kept: The model's other inputs, as `generate` prepared them.

    Attributes:
        ids: Prompts and what has been written, (rows, length).
    """

    def __init__(self, model: PreTrainedModel, ids: torch.Tensor, kept: dict[str, Any]) -> None:
        self.model, self.ids, self._kept = model, ids, kept
        self._deltas: dict[torch.nn.Module, torch.Tensor] = {}  # what the Qwen families keep of each row
        self._steps = 0

    def read(self, config: GenerationConfig, copies: Sequence[int] | None) -> torch.Tensor:
        """Read the prompts: the logits (answers, vocabulary) of what comes next.

        Args:
            config: How `generate` was called.
            copies: For each answer the row of its prompt; None: an answer a row.
        """
        logits = self._next(self.model._prefill(self.ids, config, self._kept))
        self._kept = {name: value for name, value in self._kept.items() if name not in _PICTURES}
        found = ((module, getattr(module, "rope_deltas", None)) for module in self.model.modules())
        self._deltas = {module: deltas for module, deltas in found if deltas is not None}
        if copies is None or list(copies) == list(range(len(self.ids))):
            return logits
        self.keep(copies)
        return logits[list(copies)]

    def step(self) -> torch.Tensor:
        """Read the last token of each row: the logits (rows, vocabulary) of what comes next."""
        for module, deltas in self._deltas.items():
            module.rope_deltas = deltas
        self._steps += 1
        if self._steps % _TRIMMED == 0 and self._is_large():
            trim()
        inputs = self.model.prepare_inputs_for_generation(self.ids, next_sequence_length=1, **self._kept)
        return self._next(self.model(**inputs, return_dict=True))

    def _next(self, outputs: Any) -> torch.Tensor:
        self._kept = self.model._update_model_kwargs_for_generation(outputs, self._kept)
        return outputs.logits[:, -1].to(self.ids.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, some of them perhaps several times."""
        before, places = len(self.ids), torch.tensor(rows, device=self.ids.device)
        self.ids = self.ids[places]
        for name in self._by_token():
            self._kept[name] = self._kept[name][places]
        positions = self._kept.get("position_ids")
        if positions is not None and positions.shape[-2] == before:  # (rows, length), or a plane each of the picture
            self._kept["position_ids"] = positions[..., places, :]
        self._kept["past_key_values"].batch_select_indices(places)
        self._deltas = {m: deltas[places] if len(deltas) == before else deltas for m, deltas in self._deltas.items()}

    @property
    def joinable(self) -> bool:
        """Whether other rows can join: not where the model keeps less than all of a row, or a part of fixed size."""
        layers = self._kept["past_key_values"].layers
        positions = self._kept.get("position_ids")
        by_row = positions is None or positions.shape[-2] == len(self.ids)
        return by_row and all(type(layer) is DynamicLayer for layer in layers)

    def join(self, other: Batch) -> None:
        """Take in the rows of another batch of this model, after its own; both are between two steps."""
        for batch in (self, other):
            if batch._kept.get("attention_mask") is None:  # `generate` leaves out a mask that masks nothing
                rows, length = batch.ids.shape
                batch._kept["attention_mask"] = batch.ids.new_ones(rows, length + 1)
        self._trim()
        width = max(self.ids.shape[1], other.ids.shape[1])
        for batch in (self, other):
            batch._widen(width - batch.ids.shape[1])
        self.ids = torch.cat([self.ids, other.ids])
        for name in self._by_token():
            self._kept[name] = torch.cat([self._kept[name], other._kept[name]])
        if self._kept.get("position_ids") is not None:
            self._kept["position_ids"] = torch.cat([self._kept["position_ids"], other._kept["position_ids"]], -2)
        for mine, theirs in zip(self._layers(), other._layers(), strict=True):
            mine.keys, mine.values = torch.cat([mine.keys, theirs.keys]), torch.cat([mine.values, theirs.values])
        self._deltas = {module: torch.cat([deltas, other._deltas[module]]) for module, deltas in self._deltas.items()}

    def _trim(self) -> None:
        """Drop what is padding in every row."""
        used = self._kept["attention_mask"].any(0)
        first = int(used.int().argmax())
        if first:
            self.ids = self.ids[:, first:]
            for name in (*self._by_token(), "position_ids"):
                if self._kept.get(name) is not None:
                    self._kept[name] = self._kept[name][..., first:]
            for layer in self._layers():
                layer.keys, layer.values = layer.keys[..., first:, :], layer.values[..., first:, :]

    def _widen(self, by: int) -> None:
        """Pad every row on its left."""
        if by:
            self.ids = functional.pad(self.ids, (by, 0))
            for name in (*self._by_token(), "position_ids"):
                if self._kept.get(name) is not None:
                    self._kept[name] = functional.pad(self._kept[name], (by, 0))
            for layer in self._layers():
                layer.keys = functional.pad(layer.keys, (0, 0, by, 0))
                layer.values = functional.pad(layer.values, (0, 0, by, 0))

    def _is_large(self) -> bool:
        """Whether keys and values are in the memory of the process, and many."""
        keys = getattr(self._layers()[0], "keys", None)
        return keys is not None and keys.device.type == "cpu" and 2 * len(self._layers()) * keys.nbytes > _LARGE

    def _by_token(self) -> list[str]:
        return [name for name in _BY_TOKEN if self._kept.get(name) is not None]

    def _layers(self) -> list[Any]:
        return self._kept["past_key_values"].layers
