"""The loop of `generate` for batches: equal prompts are read once, and rows that have ended leave the batch.

transformers' own loop reads every row's prompt, and computes every row until the last one has ended. The answers to a
batch of posts differ much in length, several answers to one post have the same prompt, and reading a picture costs more
than writing an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from gmner.programs.engine.batch import COMPACT_BELOW, Batch


class Decoding:
    """A loop for `model.generate(custom_generate=...)`; greedy, or sampling as the generation config has it.

    Logits processors that keep something for each row have a method `keep(places)`, one that draws the tokens itself
    has `draw(ids, scores)`; see `ConstrainedSampler`.

    Args:
        copies: For each answer the row of the prompts that it continues, so that a prompt with several answers is read
            once; None: an answer a row.
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
        """Prompts (rows, length) to prompts and answers (answers, longer), padded on the right."""
        batch = Batch(model, input_ids, model_kwargs)
        logits = batch.read(generation_config, self._copies)
        pad, places = generation_config._pad_token_tensor, list(range(len(logits)))
        finished: dict[int, torch.Tensor] = {}
        while True:
            scores = logits.to(copy=True, dtype=torch.float32)
            drawn = _drawn(logits_processor, batch.ids, scores, sample=generation_config.do_sample)
            batch.ids = torch.cat([batch.ids, drawn[:, None]], -1)
            ended = [place in finished for place in places]
            for row, over in enumerate(stopping_criteria(batch.ids, None).tolist()):
                if over and not ended[row]:
                    finished[places[row]] = batch.ids[row]
            going = [row for row, place in enumerate(places) if place not in finished]
            if not going:
                return torch.nn.utils.rnn.pad_sequence([finished[p] for p in sorted(finished)], True, float(pad))
            if len(going) <= COMPACT_BELOW * len(places):
                batch.keep(going)
                for processor in logits_processor:
                    if hasattr(processor, "keep"):
                        processor.keep(going)
                places = [places[row] for row in going]
            logits = batch.step()


def _drawn(processors: LogitsProcessorList, ids: torch.Tensor, scores: torch.Tensor, *, sample: bool) -> torch.Tensor:
    """The next token of each row, (rows,); a processor that draws has the last word."""
    for processor in processors:
        if hasattr(processor, "draw"):
            return processor.draw(ids, scores)
        scores = processor(ids, scores)
    return scores.softmax(-1).multinomial(1)[:, 0] if sample else scores.argmax(-1)
