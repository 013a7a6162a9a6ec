"""Answers under way on one model: prompts join the batch while others are answered, and an answer leaves when it ends.

A batch that is answered as a whole takes as many steps as its longest answer, with ever fewer rows at work. On a GPU a
step costs about the same for one row as for many, so what leaves is replaced.
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
    """Rows under way; for one thread at a time. After an error of `step` it is of no further use.

    Args:
        model: The model.
        end_ids: Ids that end an answer, the one that is written first.
        never: Ids that no answer has.

    Attributes:
        broken: Whether an error of `add` came while prompts joined; until then it leaves the rows as they were.
    """

    def __init__(self, model: PreTrainedModel, end_ids: Sequence[int], never: Sequence[int] = ()) -> None:
        self._model, self._end_ids, self._never = model, list(end_ids), list(never)
        self._batch: Batch | None = None
        self._scores = torch.empty(0)  # of what comes next, (rows, vocabulary)
        self._drawing = self._drawn_by([])
        self.broken = False

    def __len__(self) -> int:
        """The answers under way."""
        return sum(not row.ended for row in self._drawing.rows)

    @property
    def joinable(self) -> bool:
        """Whether prompts can be added now."""
        return self._batch is None or self._batch.joinable

    def takes(self, narrowest: int, widest: int) -> bool:
        """Whether prompts of these widths, in tokens, are alike enough to those under way to join them."""
        if self._batch is None:
            return True
        rows = self._drawing.rows
        sizes = [row.prompt_tokens + len(row.written) for row in rows if not row.ended]
        return self.joinable and alike(min(narrowest, *sizes, widest), max(widest, *sizes, narrowest))

    def add(self, inputs: Mapping[str, Any], copies: Sequence[int], rows: Sequence[SamplerRow]) -> None:
        """Read prompts, whose answers come with those that are under way.

        Args:
            inputs: The prompts, as `generate` takes them.
            copies: For each answer the row of its prompt.
            rows: The state of each answer.
        """
        reading = _Reading(copies)
        with torch.inference_mode():
            self._model.generate(
                **{name: self._placed(value) for name, value in inputs.items()},
                do_sample=False, max_new_tokens=1, cache_implementation="dynamic", custom_generate=reading,
            )  # fmt: skip
            drawing = self._drawn_by(rows)
            self.broken = True
            if self._batch is None:
                self._batch, self._scores, self._drawing = reading.batch, reading.scores, drawing
            else:
                self._close_up()
                self._batch.join(reading.batch)
                self._scores = torch.cat([self._scores, reading.scores])
                self._drawing.join(rows)
            self.broken = False

    def step(self) -> list[SamplerRow]:
        """Write a token of each answer: the rows that have ended by it."""
        if self._batch is None:
            return []
        going = [row for row in self._drawing.rows if not row.ended]
        with torch.inference_mode():
            scores = self._scores.to(copy=True, dtype=torch.float32)
            tokens = self._drawing.draw(self._batch.ids, scores)
            self._batch.ids = torch.cat([self._batch.ids, tokens[:, None]], -1)
            if not len(self):
                self._batch = None
            else:
                if len(self) <= COMPACT_BELOW * len(self._drawing.rows):
                    self._close_up()
                self._scores = self._batch.step()
        return [row for row in going if row.ended]

    def _close_up(self) -> None:
        """Rows that have ended leave the batch."""
        rows = [place for place, row in enumerate(self._drawing.rows) if not row.ended]
        if self._batch is not None and len(rows) < len(self._drawing.rows):
            self._batch.keep(rows)
            self._drawing.keep(rows)
            self._scores = self._scores[rows]

    def _placed(self, value: Any) -> Any:
        """A tensor on the model's device, numbers as it computes them."""
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)

    def _drawn_by(self, rows: Sequence[SamplerRow]) -> ConstrainedSampler:
        return ConstrainedSampler(rows, self._end_ids, self._end_ids[0], self._never)


class _Reading:
    """A `custom_generate` that reads the prompts, and writes nothing: `generate` prepares what the model needs."""

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
