"""The decoder's stages: dialogues as token ids, and the loss over the assistant's words."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutputWithPooling

from gmner.data.post import SceneObject
from gmner.data.world.cast import known
from gmner.optimizers.pretrain.model import IMAGE_TOKENS, coordinate_ids
from gmner.optimizers.pretrain.pool import Pool, item_rng
from gmner.optimizers.pretrain.questions import Dialogue, Mix, ask
from gmner.optimizers.pretrain.vision import NAMES, cells_of, name_rows, soft_coordinate_loss

IMAGE_STRING = "<fake_token_around_image><global-img>" + "<image>" * IMAGE_TOKENS + "<fake_token_around_image>"
IGNORED = -100
GAZE_LAYERS, GAZE_HEADS, GAZE_WEIGHT = (2, 3), 2, 1.0
"""Decoder layers whose first heads are shown where to look: a name at its thing; then a coordinate at its name, and a
copied token at its place in the post."""

IDENTITY_LAYERS, IDENTITY_WEIGHT = 2, 0.3
"""After so many layers the last token of a name, alias or handle knows whose it is: as much as looking it up needs."""

_SPAN = re.compile(r'"span":"([^"]*)"')
_LISTED = re.compile(r"Picture: .*?(?:\]|nothing)\.")

DECISIONS = ('{"box":[', '{"box":null}', '","visible":true}', '","visible":false}')
"""The tokens in which the answer to "is it there" lies."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A dialogue as token ids.

    Attributes:
        ids: The whole dialogue, exactly as chat template and processor write it.
        labels: Equal to `ids` in the assistant's words and their end marker, `IGNORED` elsewhere.
        named: (position of its last token, the words) of everything that user and assistant call an entity by.
        copied: (position before a token, the positions where the post has that token) of what is copied from the post.
    """

    ids: list[int]
    labels: list[int]
    named: list[tuple[int, str]]
    copied: list[tuple[int, list[int]]]


class _Piece(NamedTuple):
    """A part of a dialogue: its text, the position of its first token, and where in the text its tokens end."""

    text: str
    first: int
    ends: list[int]

    def at(self, place: int) -> int:
        """The position of the token with the character at `place` of the text."""
        return self.first + bisect_right(self.ends, place)


def encode_dialogue(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """Token ids and labels of a dialogue."""
    encoded = Encoded([], [], [], [])

    def add(text: str, learn: bool) -> _Piece:
        tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = tokens["input_ids"]
        piece = _Piece(text, len(encoded.ids), [end for _, end in tokens["offset_mapping"]])
        encoded.named.extend((piece.at(found.end() - 1), found.group()) for found in _any_name().finditer(text))
        encoded.ids.extend(ids)
        encoded.labels.extend(ids if learn else [IGNORED] * len(ids))
        return piece

    add(f"<|im_start|>system\n{dialogue.system}<|im_end|>\n", False)
    for turn, (user, assistant) in enumerate(dialogue.turns):
        image = IMAGE_STRING if dialogue.with_image and turn == 0 else ""
        asked = add(f"<|im_start|>user\n{image}{user}<|im_end|>\n<|im_start|>assistant\n", False)
        encoded.copied.extend(_copied(asked, add(f"{assistant}<|im_end|>", True), dialogue.copied))
        add("\n", False)
    return encoded


def _copied(asked: _Piece, answer: _Piece, words: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
    """Where each token of an answer's spans, and of these words in a chain, is copied from."""
    spans = [found.span(1) for found in _SPAN.finditer(answer.text)]
    if words:
        listed = [found.span() for found in _LISTED.finditer(answer.text)]
        found = [match.span() for match in _whole(words).finditer(answer.text)]
        spans += [span for span in found if not any(begin <= span[0] < end for begin, end in listed)]
    for start, end in spans:
        sources = [match.start() for match in _whole([answer.text[start:end]]).finditer(asked.text)]
        for position in range(answer.at(start), answer.at(end - 1) + 1):
            begins = answer.ends[position - answer.first - 1] if position > answer.first else 0
            yield position - 1, [asked.at(source + max(begins - start, 0)) for source in sources]


def _whole(words: Iterable[str]) -> re.Pattern[str]:
    """Any of these words, the longest that fits, not as a part of others."""
    longest_first = sorted(words, key=lambda word: -len(word))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")


Gaze = tuple[int, int, list[int]]
"""Which of the `GAZE_LAYERS`, a position, and the positions that it should look at."""


def gazes(encoded: Encoded, scene: Sequence[SceneObject], coordinates: Set[int], judging: bool = False) -> list[Gaze]:
    """Where to look: each name, once it is read, at its thing's image tokens; each coordinate at the name before it.

    What is copied from the post looks at its place there. A name that is not there looks at the first token where the
    dialogue is a judging one. Elsewhere nothing is said of it: how an end-to-end answer misses it stays biased.

    Args:
        encoded: The ids of a dialogue.
        scene: What the picture shows; empty also where there is none.
        coordinates: Ids of the coordinates' tokens.
        judging: See `Dialogue`.
    """
    found: list[Gaze] = [(1, at, places) for at, places in encoded.copied]
    if not scene and not judging:
        return found
    first = _first_image(encoded)
    places = {key: [first + cell for cell in cells] for key, cells in cells_of(scene).items()}
    named = [(at, words) for at, words in encoded.named if at > first]
    for at, words in named:
        there = sorted({place for key in surfaces()[words] for place in places.get(key, ())})
        if there or judging:
            found.append((0, at, there or [0]))
    ends = [at for at, _ in named]
    parts = {at for at, _ in encoded.named} | {at + 1 for at, _ in encoded.copied}
    for at, label in enumerate(encoded.labels):
        before = bisect_left(ends, at)
        if label in coordinates and before and at not in parts:  # the number of `Petal 5` is none
            found.append((1, at - 1, [ends[before - 1]]))
    return found


@cache
def surfaces() -> dict[str, list[tuple[str, str]]]:
    """Names, aliases and handles of what pre-training knows, with the (name, type) of those that are called so."""
    called: dict[str, list[tuple[str, str]]] = {}
    for who in known():
        for words in who.surfaces:
            called.setdefault(words, []).append(who.key)
    return called


@cache
def _any_name() -> re.Pattern[str]:
    return _whole(surfaces())


def _first_image(encoded: Encoded) -> int:
    """Position of the first image token: the longest run of one id is the picture."""
    runs = ((len(list(run)), token) for token, run in groupby(encoded.ids))
    return encoded.ids.index(max(runs)[1])


class Dialogues(Dataset[dict[str, Any]]):
    """Dialogues in training order: item i asks something new about one scene of the pool.

    A batch takes its questions from one mix, the mixes taking turns, so that short and long dialogues rarely meet.
    Every name says where to look, see `gazes`.
    """

    def __init__(
        self,
        pool: Pool,
        tokenizer: PreTrainedTokenizerFast,
        mixes: Sequence[Mix],
        steps: int,
        batch: int,
        seed: int,
    ) -> None:
        self._pool, self._tokenizer, self._mixes = pool, tokenizer, mixes
        self._coordinates = set(coordinate_ids(tokenizer))
        self._count, self._batch, self._seed = steps * batch, batch, seed

    def __len__(self) -> int:
        """Number of dialogues."""
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Token ids, labels and the picture's features of one dialogue."""
        rng = item_rng(self._seed, index)
        place = rng.randrange(len(self._pool))
        mix = self._mixes[index // self._batch % len(self._mixes)]
        dialogue = ask(self._pool.scenes[place], rng, mix)
        encoded = encode_dialogue(dialogue, self._tokenizer)
        features = self._pool.features[place] if dialogue.with_image and self._pool.features is not None else None
        looks = gazes(
            encoded, self._pool.scenes[place] if dialogue.with_image else (), self._coordinates, dialogue.judging
        )
        return {
            "ids": encoded.ids,
            "labels": encoded.labels,
            "features": features,
            "gazes": looks,
            "named": encoded.named,
        }


class PadDialogues:
    """Pads dialogues on the right; all of a batch have a picture, or none has."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """(B, T) `input_ids`, `attention_mask` and `labels`; (B, patches, width) `features` with pictures."""
        longest = max(len(item["ids"]) for item in items)

        def padded(key: str, fill: int) -> torch.Tensor:
            return torch.tensor([[*item[key], *[fill] * (longest - len(item[key]))] for item in items])

        ids = padded("ids", self._pad)
        batch = {"input_ids": ids, "attention_mask": (ids != self._pad).long(), "labels": padded("labels", IGNORED)}
        if items[0]["features"] is not None:
            batch["features"] = torch.from_numpy(np.stack([item["features"] for item in items])).float()
        named = [
            (row, at, NAMES.index(surfaces()[words][0][0]))
            for row, item in enumerate(items)
            for at, words in item["named"]
        ]
        if named:
            batch["named"] = torch.tensor(named)
        looks = [(row, layer, at, places) for row, item in enumerate(items) for layer, at, places in item["gazes"]]
        if looks:
            batch["gaze_from"] = torch.tensor([look[:3] for look in looks])
            batch["gaze_to"] = torch.zeros(len(looks), longest, dtype=torch.bool)
            for place, (*_, places) in enumerate(looks):
                batch["gaze_to"][place, places] = True
        return batch


class AnswerTeacher(nn.Module):
    """The model's body and its tied head, with a loss that counts a near miss of a coordinate less than a far one."""

    coordinates: torch.Tensor
    place: torch.Tensor
    weight: torch.Tensor
    name_rows: torch.Tensor

    def __init__(
        self,
        model: Idefics3ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        decision_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.body = model.model
        table = model.get_input_embeddings().weight.detach()
        self.to_name = nn.Linear(table.shape[1], table.shape[1])
        self.register_buffer("name_rows", name_rows(table, tokenizer))
        self.register_buffer("coordinates", torch.tensor(coordinate_ids(tokenizer)), persistent=False)
        place = torch.full((len(tokenizer),), -1)
        place[self.coordinates] = torch.arange(len(self.coordinates))
        self.register_buffer("place", place, persistent=False)
        weight = torch.ones(len(tokenizer))
        weight[tokenizer.convert_tokens_to_ids(list(DECISIONS))] = decision_weight
        self.register_buffer("weight", weight, persistent=False)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        features: torch.Tensor | None = None,
        named: torch.Tensor | None = None,
        gaze_from: torch.Tensor | None = None,
        gaze_to: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Mean loss a learned token, and what it consists of.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) int64.
            labels: (B, T) int64, `IGNORED` where nothing is learned.
            features: (B, patches, width) float, the vision tower's output, or None.
            named: (N, 3) int64, row, position and index in `NAMES` of every name, or None.
            gaze_from: (N, 3) int64, row, place in `GAZE_LAYERS` and position of each gaze, or None.
            gaze_to: (N, T) bool, where each gaze should fall, or None.

        Returns:
            `loss`, and its parts: of words, decisions and coordinates, of whose names are, and of gazes.
        """
        seen = None
        if features is not None:
            seen = {"image": BaseModelOutputWithPooling(pooler_output=self.body.connector(features).flatten(0, 1))}
        output = self.body(
            input_ids=input_ids,
            attention_mask=attention_mask,
            mm_encoder_outputs=seen,
            use_cache=False,
            output_attentions=gaze_from is not None,
            output_hidden_states=True,
        )
        loss, parts = self._spoken(output.last_hidden_state, labels)
        if named is not None:
            row, at, whose = named.T
            scores = self.to_name(output.hidden_states[IDENTITY_LAYERS][row, at]) @ self.name_rows.T
            parts["identity_loss"] = nn.functional.cross_entropy(scores.float(), whose)
            loss = loss + IDENTITY_WEIGHT * parts["identity_loss"]
        if gaze_from is not None and gaze_to is not None:
            parts["gaze_loss"] = gaze_loss([output.attentions[layer] for layer in GAZE_LAYERS], gaze_from, gaze_to)
            loss = loss + GAZE_WEIGHT * parts["gaze_loss"]
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}

    def _spoken(self, hidden: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Mean loss of what is said, a token; coordinates softly, decisions with their weight."""
        learned = labels[:, 1:] != IGNORED
        target = labels[:, 1:][learned]
        logits = (hidden[:, :-1][learned] @ self.body.get_input_embeddings().weight.T).float()
        number = self.place[target] >= 0
        losses = nn.functional.cross_entropy(logits[~number], target[~number], reduction="none")
        total, boxes = (losses * self.weight[target[~number]]).sum(), losses.new_zeros(())
        if number.any():
            inside = logits[number]
            among = inside[:, self.coordinates]
            leak = inside.logsumexp(-1) - among.logsumexp(-1)
            boxes = soft_coordinate_loss(among, self.place[target[number]]) + leak.mean()
            total = total + boxes * number.sum()
        decided = losses[self.weight[target[~number]] != 1]
        parts = {"coordinate_loss": boxes, "word_loss": losses.mean(), "decision_loss": decided.mean()}
        return total / len(target), parts


def gaze_loss(attention: Sequence[torch.Tensor], gaze_from: torch.Tensor, gaze_to: torch.Tensor) -> torch.Tensor:
    """How much of the attention of the `GAZE_HEADS` misses what it should fall on.

    Args:
        attention: (B, heads, T, T) attention weights of each of the `GAZE_LAYERS`.
        gaze_from: (N, 3) int64, row, place in `GAZE_LAYERS` and position.
        gaze_to: (N, T) bool.

    Returns:
        Over the layers, the sum of the means of -log(attention on the right places).
    """
    total = attention[0].new_zeros((), dtype=torch.float32)
    for place, weights in enumerate(attention):
        here = gaze_from[:, 1] == place
        if here.any():
            row, _, at = gaze_from[here].T
            inside = (weights[row, :GAZE_HEADS, at].float() * gaze_to[here][:, None].float()).sum(-1)
            total = total - (inside + 1e-4).log().mean()
    return total
