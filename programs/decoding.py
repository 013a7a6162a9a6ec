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

_CROWDED = 0.75
# A batch is closed up when this share of its rows goes on, or less: a row costs at each step, closing up only once.


class Decoding:
    """A loop for `model.generate(custom_generate=...)`; greedy, or sampling as the generation config has it.

    Logits processors that keep something for each row have a method `keep(places)`, one that draws the tokens itself
    has `draw(ids, scores)`; see `RowLogits`.

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
        batch = _Batch(model, input_ids, model_kwargs)
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
            if len(going) <= _CROWDED * len(places):
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


class _Batch:
    """The rows that are written, and what the model keeps of them.

    Args:
        model: The model.
        ids: The prompts, (rows, length).
        kept: The model's other inputs, as `generate` prepared them.
    """

    def __init__(self, model: PreTrainedModel, ids: torch.Tensor, kept: dict[str, Any]) -> None:
        self.model, self.ids, self._kept = model, ids, kept

    def read(self, config: GenerationConfig, copies: list[int] | None) -> torch.Tensor:
        """Read the prompts: the logits (answers, vocabulary) of what comes next."""
        logits = self._next(self.model._prefill(self.ids, config, self._kept))
        if copies is None or copies == list(range(len(self.ids))):
            return logits
        self.keep(copies)
        return logits[copies]

    def step(self) -> torch.Tensor:
        """Read the last token of each row: the logits (rows, vocabulary) of what comes next."""
        inputs = self.model.prepare_inputs_for_generation(self.ids, next_sequence_length=1, **self._kept)
        return self._next(self.model(**inputs, return_dict=True))

    def _next(self, outputs: Any) -> torch.Tensor:
        self._kept = self.model._update_model_kwargs_for_generation(outputs, self._kept)
        return outputs.logits[:, -1].to(self.ids.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, some of them perhaps several times."""
        before, places = len(self.ids), torch.tensor(rows, device=self.ids.device)
        self.ids = self.ids[places]
        for name in ("attention_mask", "token_type_ids", "mm_token_type_ids"):
            if self._kept.get(name) is not None:
                self._kept[name] = self._kept[name][places]
        positions = self._kept.get("position_ids")
        if positions is not None and positions.shape[-2] == before:  # (rows, length), or a plane each of the picture
            self._kept["position_ids"] = positions[..., places, :]
        self._kept["past_key_values"].batch_select_indices(places)
        for module in self.model.modules():
            deltas = getattr(module, "rope_deltas", None)  # what the Qwen families keep of each row
            if deltas is not None and len(deltas) == before:
                module.rope_deltas = deltas[places]
