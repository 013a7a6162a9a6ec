"""`Decoding`: a generation loop that prefills equal prompts once and removes finished rows from the batch.

The loop of transformers prefills the prompt of every row, and computes every row until the last one is finished. Here
several answers share a prompt, answers differ much in length, and prefilling an image costs more than decoding an
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from gmner.programs.engine.batch import COMPACT_BELOW, Batch


class Decoding:
    """A loop for `model.generate(custom_generate=...)`; greedy or sampling, as the generation config says.

    A logits processor with state for each row needs a method `keep(places)`. One that chooses the tokens itself needs
    `draw(ids, scores)`; see `ConstrainedSampler`.

    Args:
        copies: For each answer the row of its prompt, so that a prompt with several answers is prefilled once; None:
            one answer a row.
    """

    def __init__(self, copies: Sequence[int] | None = None) -> None:
        self._copies = None if copies is None else list(copies)

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        """Generate: prompts (rows, length) -> prompts with answers (answers, longer), padded on the right."""
        batch = Batch(model, input_ids, model_kwargs)
        logits = batch.read(generation_config, self._copies)
        pad, places = _padding(generation_config), list(range(len(logits)))
        finished: dict[int, torch.Tensor] = {}
        while True:
            # Processors write in place, and half-precision scores round close probabilities together.
            scores = logits.to(copy=True, dtype=torch.float32)
            drawn = _drawn(logits_processor, batch.ids, scores, sample=generation_config.do_sample)
            batch.ids = torch.cat([batch.ids, drawn[:, None]], -1)
            ended = [place in finished for place in places]
            for row, over in enumerate(stopping_criteria(batch.ids, None).tolist()):
                if over and not ended[row]:
                    finished[places[row]] = batch.ids[row]
            active = [row for row, place in enumerate(places) if place not in finished]
            if not active:
                return torch.nn.utils.rnn.pad_sequence([finished[p] for p in sorted(finished)], True, pad)
            if len(active) <= COMPACT_BELOW * len(places):
                batch.keep(active)
                for processor in logits_processor:
                    if hasattr(processor, "keep"):
                        processor.keep(active)
                places = [places[row] for row in active]
            logits = batch.step()


def _padding(config: GenerationConfig) -> int:
    """The token behind an answer that has ended; as in transformers, the end token where no padding is configured."""
    ends = config.eos_token_id
    end = ends[0] if isinstance(ends, list) else ends
    return next((token for token in (config.pad_token_id, end) if token is not None), 0)


def _drawn(processors: LogitsProcessorList, ids: torch.Tensor, scores: torch.Tensor, *, sample: bool) -> torch.Tensor:
    """The next token of each row, (rows,); processors after one with `draw` are not called."""
    for processor in processors:
        if hasattr(processor, "draw"):
            return processor.draw(ids, scores)
        scores = processor(ids, scores)
    return scores.softmax(-1).multinomial(1)[:, 0] if sample else scores.argmax(-1)
