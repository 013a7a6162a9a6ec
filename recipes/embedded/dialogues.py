"""Dialogues as token ids, with who is named where and where the decoder should look, in padded batches."""

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
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from gmner.data.post import SceneObject
from gmner.data.world.cast import known
from gmner.recipes.embedded.model import IMAGE_TOKENS, coordinate_ids
from gmner.recipes.embedded.pool import Pool, item_rng
from gmner.recipes.embedded.questions import Dialogue, Mix, ask
from gmner.recipes.embedded.vision import NAMES, cells_of

IMAGE_STRING = "<fake_token_around_image><global-img>" + "<image>" * IMAGE_TOKENS + "<fake_token_around_image>"
IGNORED = -100

# A span of an answer, and the part of a chain that lists what the picture shows.
_SPAN = re.compile(r'"span":"([^"]*)"')
_LISTED = re.compile(r"Picture: .*?(?:\]|nothing)\.")


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
    asked: list[_Piece] = []  # the newest first
    for turn, (user, assistant) in enumerate(dialogue.turns):
        image = IMAGE_STRING if dialogue.with_image and turn == 0 else ""
        asked.insert(0, add(f"<|im_start|>user\n{image}{user}<|im_end|>\n<|im_start|>assistant\n", False))
        encoded.copied.extend(_copied(asked, add(f"{assistant}<|im_end|>", True), dialogue.copied))
        add("\n", False)
    return encoded


def _copied(asked: Sequence[_Piece], answer: _Piece, words: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
    """Where each token of an answer's spans, and of these words in a chain, is copied from: the first that has it."""
    spans = [found.span(1) for found in _SPAN.finditer(answer.text)]
    if words:
        listed = [found.span() for found in _LISTED.finditer(answer.text)]
        found = [match.span() for match in _whole(words).finditer(answer.text)]
        spans += [span for span in found if not any(begin <= span[0] < end for begin, end in listed)]
    for start, end in spans:
        word = _whole([answer.text[start:end]])
        source = next(piece for piece in asked if word.search(piece.text))
        places = [match.start() for match in word.finditer(source.text)]
        for position in range(answer.at(start), answer.at(end - 1) + 1):
            begins = answer.ends[position - answer.first - 1] if position > answer.first else 0
            yield position - 1, [source.at(place + max(begins - start, 0)) for place in places]


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
