"""Joins the answers to a prompt in one sequence, so that training computes the prompt and its images once.

Source: Liu et al., Prefix Grouper: Efficient GRPO Training through Shared-Prefix Forward (2025). The paper computes
attention in two parts. Here a mask keeps the answers from seeing each other:

    prompt without its last token | last token, answer 1 without its last | last token, answer 2 without its last | ...

The last token of the prompt is repeated before each answer because its output predicts the answer's first token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from gmner.optimizers.training.trainable import without_adapter
from gmner.programs.models.families import ImageInputs, family_of
from gmner.programs.seams.transformers_seams import attention_of
from gmner.signatures.errors import ModelError

LOG = logging.getLogger(__name__)

_MASKABLE = ("sdpa", "eager")
_UNSCORED = -100

ImageTensors = Mapping[str, torch.Tensor]
"""Image inputs of the model, by name."""


def shares_prompts(model: Any) -> bool:
    """Whether the answers to a prompt can share its computation in this model; logged if they cannot.

    Flash attention supports no such mask, sliding windows would count the answers in between, and the position ids of
    other families are not known here.

    Args:
        model: The model, with or without an adapter.
    """
    bare = without_adapter(model)
    text = bare.config.get_text_config()
    whole = set(getattr(text, "layer_types", None) or ()) <= {"full_attention"}
    known = family_of(bare.config.model_type).image_inputs is not None
    attention = attention_of(text)
    shares = known and whole and attention in _MASKABLE
    if not shares:
        family = bare.config.model_type
        LOG.info("Answers cannot share their prompt in training: family %s, attention %s", family, attention)
    return shares


class SharedPrompts:
    """A model that computes rows with the same prompt as one sequence. TRL's trainers call it in place of the model.

    Args:
        model: The model with TRL's fused head, possibly wrapped.
        bare: The same model without wrappers, see `shares_prompts`.
        by_row: Whether to return the log probabilities and entropies of the rows as they were passed,
            (rows, length - 1). False: return the model's output for the joined sequences.
    """

    def __init__(self, model: Callable[..., Any], bare: Any, *, by_row: bool) -> None:
        self._model, self._bare, self._by_row = model, without_adapter(bare), by_row
        self._image_inputs = _image_inputs(self._bare)

    def __call__(
        self,
        *,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        mm_token_type_ids: torch.Tensor | None = None,
        use_cache: bool = False,
        fused_lm_head: bool = True,
        **images: torch.Tensor,
    ) -> Any:
        """Compute rows; `labels` are the tokens of the answers, and -100 elsewhere."""
        scored = labels != _UNSCORED
        read = attention_mask.bool() & ~scored & (scored.cumsum(1) == 0)
        parts = self._parts(input_ids, images)
        groups = _groups(input_ids, read, parts)
        firsts = [rows[0] for rows in groups]
        shown = {name: torch.cat([parts[first][name] for first in firsts]) for name in images}
        kinds = None if mm_token_type_ids is None else mm_token_type_ids[firsts]
        positions = self._positions(input_ids[firsts], read[firsts], kinds, shown)
        sequences = [
            _sequence(
                input_ids[first][read[first]],
                positions[:, place][:, read[first]],
                None if kinds is None else kinds[place][read[first]],
                [input_ids[row][scored[row]] for row in rows],
            )
            for place, (first, rows) in enumerate(zip(firsts, groups, strict=True))
        ]
        if kinds is not None:
            shown["mm_token_type_ids"] = _padded([sequence.kinds for sequence in sequences])
        outputs = self._model(
            input_ids=_padded([sequence.ids for sequence in sequences]),
            attention_mask=self._mask(_padded([sequence.owners for sequence in sequences], -1)),
            position_ids=self._joined([sequence.positions for sequence in sequences]),
            shift_labels=_padded([sequence.labels for sequence in sequences], _UNSCORED),
            fused_lm_head=fused_lm_head,
            **shown,
        )
        if not self._by_row:
            return outputs
        rows = [row for group in groups for row in group]
        values = (outputs.log_probs, outputs.entropy)
        log_probs, entropy = (None if v is None else _of_rows(v, sequences, rows, scored[:, 1:]) for v in values)
        return SimpleNamespace(log_probs=log_probs, entropy=entropy)

    def _parts(self, ids: torch.Tensor, images: ImageTensors) -> list[dict[str, torch.Tensor]]:
        """Split the image inputs by row."""
        rows = len(ids)
        counts = dict.fromkeys(images, [1] * rows)
        if "pixel_values" in images:
            image_tokens = (ids == self._bare.config.image_token_id).sum(1)
            counts |= self._image_inputs.counts(image_tokens, images)
        cut = {name: value.split(counts[name]) for name, value in images.items()}
        return [{name: values[row] for name, values in cut.items()} for row in range(rows)]

    def _positions(
        self, prompts: torch.Tensor, read: torch.Tensor, kinds: torch.Tensor | None, shown: ImageTensors
    ) -> torch.Tensor:
        """Positions of the tokens of the prompts, (axes, rows, length)."""
        images = dict(shown) if kinds is None else {**shown, "mm_token_type_ids": kinds}
        positions = self._image_inputs.positions(self._bare, prompts, read, images)
        if positions is not None:
            return positions
        return (read.cumsum(1) - 1).expand(self._image_inputs.position_axes, *read.shape)

    def _joined(self, positions: Sequence[torch.Tensor]) -> torch.Tensor:
        """Positions of the sequences in the form that the model expects: (axes, rows, length), or (rows, length)."""
        joined = pad_sequence([places.T for places in positions], batch_first=True).permute(2, 0, 1)
        return joined if self._image_inputs.position_axes > 1 else joined[0]

    def _mask(self, owners: torch.Tensor) -> torch.Tensor:
        """The mask, (rows, 1, length, length): a token sees the earlier tokens of the prompt and of its own answer."""
        key, query = owners[:, None, :], owners[:, :, None]
        before = torch.ones(owners.shape[1], owners.shape[1], dtype=torch.bool, device=owners.device).tril()
        seen = (before & ((key == 0) | (key == query)))[:, None]
        if attention_of(self._bare.config.get_text_config()) == "sdpa":
            return seen
        dtype = self._bare.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)


def _image_inputs(model: Any) -> ImageInputs:
    image_inputs = family_of(model.config.model_type).image_inputs
    if image_inputs is None:
        raise ModelError("The answers of this model cannot share their prompt", received=model.config.model_type)
    return image_inputs


@dataclass(frozen=True)
class _Sequence:
    """A prompt and all its answers.

    Attributes:
        ids: The tokens, (length,).
        owners: 0 for each token of the prompt, else the number of the answer, from 1, (length,).
        positions: Their positions, (axes, length).
        labels: The token after each token; `_UNSCORED` in the prompt.
        kinds: 1 for each token that stands for an image, else 0; None: the model has no such input.
        lengths: Number of tokens of each answer.
    """

    ids: torch.Tensor
    owners: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    kinds: torch.Tensor | None
    lengths: list[int]

    @property
    def start(self) -> int:
        """Index of the first token of the first answer."""
        return len(self.ids) - sum(self.lengths)


def _sequence(
    prompt: torch.Tensor, positions: torch.Tensor, kinds: torch.Tensor | None, answers: Sequence[torch.Tensor]
) -> _Sequence:
    """Join a prompt (length,), with the positions (axes, length) and kinds of its tokens, and its answers."""
    lengths = [len(answer) for answer in answers]
    shared, last = prompt[:-1], prompt[-1:]
    follow = torch.cat([torch.arange(length, device=prompt.device) for length in lengths])
    return _Sequence(
        ids=torch.cat([shared, *(torch.cat([last, answer[:-1]]) for answer in answers if len(answer))]),
        owners=torch.cat([torch.zeros_like(shared), *(torch.full_like(a, n) for n, a in enumerate(answers, 1))]),
        positions=torch.cat([positions[:, :-1], positions[:, -1:] + follow], 1),
        labels=torch.cat([torch.full_like(shared, _UNSCORED), *answers]),
        kinds=None if kinds is None else torch.cat([kinds[:-1], kinds.new_zeros(sum(lengths))]),
        lengths=lengths,
    )


def _of_rows(
    values: torch.Tensor, sequences: Sequence[_Sequence], rows: Sequence[int], scored: torch.Tensor
) -> torch.Tensor:
    """Move the values of the answers back to the rows, (rows, length - 1), 0 elsewhere."""
    answers = [
        values[place, sequence.start : len(sequence.ids)].split(sequence.lengths)
        for place, sequence in enumerate(sequences)
    ]
    of_row = dict(zip(rows, (answer for several in answers for answer in several), strict=True))
    ordered = torch.cat([of_row[row] for row in sorted(of_row)])
    return values.new_zeros(scored.shape).masked_scatter(scored, ordered)


def _groups(prompts: torch.Tensor, read: torch.Tensor, parts: Sequence[Mapping[str, torch.Tensor]]) -> list[list[int]]:
    """Group the rows that have the same prompt and the same images."""
    by_prompt: dict[tuple[Any, ...], list[list[int]]] = {}
    for row, prompt in enumerate(prompts):
        alike = by_prompt.setdefault(tuple(prompt[read[row]].tolist()), [])
        mine = next((rows for rows in alike if _equal(parts[rows[0]], parts[row])), None)
        if mine is None:
            alike.append([row])
        else:
            mine.append(row)
    return [rows for alike in by_prompt.values() for rows in alike]


def _equal(ours: ImageTensors, theirs: ImageTensors) -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def _padded(rows: Sequence[Any], value: int = 0) -> torch.Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_value=value)
