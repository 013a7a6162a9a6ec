"""Dialogues in training order, with the targets of the supervised attention (gazes), in padded batches."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence, Set
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from gmner.data.post import SceneObject
from gmner.data.world.cast import character
from gmner.recipes.embedded.encoding import IGNORED, Encoded, Gaze, encode_dialogue, surfaces
from gmner.recipes.embedded.model import coordinate_ids
from gmner.recipes.embedded.pool import Pool, item_rng
from gmner.recipes.embedded.questions import MEETING, Dialogue, Mix, ask, most_alike
from gmner.recipes.embedded.strangers import newcomer_called
from gmner.recipes.embedded.vision import NAMES, cells_of


def gazes(encoded: Encoded, scene: Sequence[SceneObject], coordinates: Set[int], dialogue: Dialogue) -> list[Gaze]:
    """Targets of the supervised attention.

    In the first of the `GAZE_LAYERS`, the last token of a name attends to the image tokens of its entity. If it is not
    shown, it attends to what it may be mistaken for, so that only a list of what the image shows tells the difference.
    In the second layer, a coordinate attends to the name before it, and a copied token to its place in the post.

    Args:
        encoded: The encoded dialogue.
        scene: What the image shows; empty if there is no image.
        coordinates: Token ids of the coordinates.
        dialogue: What is encoded.
    """
    targets: list[Gaze] = [(1, at, places) for at, places in encoded.copied]
    targets += [(1, at, context) for at, context, _ in encoded.typed]
    targets += encoded.matched
    if not scene:
        return targets
    first = _first_image(encoded)
    places = {key: [first + cell for cell in cells] for key, cells in cells_of(scene).items()}
    named = [(at, words) for at, words in encoded.named if at > first]
    for at, words in named:
        keys = surfaces()[words]
        shown = [key for key in keys if key in places]
        if not shown:
            shown = [(o.name, o.type) for key in keys for o in most_alike(character(*key), scene)]
        targets.append((0, at, sorted({place for key in shown for place in places[key]})))
    new = {words: key for key in places for words in _newcomer_surfaces(key)}
    targets += [(0, at, sorted(places[new[words]])) for at, words in encoded.invented if words in new]
    mistaken = dialogue.mistaken
    targets += [
        (0, at, sorted(places[mistaken[words]]))
        for at, words in encoded.invented
        if words in mistaken and encoded.labels[at] != IGNORED
    ]
    ends = sorted(at for at, _ in [*named, *encoded.invented])
    parts = {at for at, _ in encoded.named} | {at + 1 for at, _ in encoded.copied}
    for at, label in enumerate(encoded.labels):
        before = bisect_left(ends, at)
        if label in coordinates and before and at not in parts:  # the number in the name `Petal 5` is no coordinate
            targets.append((1, at - 1, [ends[before - 1]]))
    return targets


def _newcomer_surfaces(key: tuple[str, str]) -> tuple[str, ...]:
    """What texts call an entity of a scene if it is a newcomer, otherwise nothing."""
    return () if key[0] in surfaces() else newcomer_called(*key).surfaces


def _first_image(encoded: Encoded) -> int:
    """Position of the first image token: the image is the longest run of one id."""
    runs = ((len(list(run)), token) for token, run in groupby(encoded.ids))
    return encoded.ids.index(max(runs)[1])


class Dialogues(Dataset[dict[str, Any]]):
    """Dialogues in training order: item i is a new question about a scene of the pool.

    The questions of a batch come from one mix, and the mixes rotate, so that few batches hold both short and long
    dialogues.

    Args:
        pool: The scenes.
        tokenizer: The tokenizer of the model.
        mixes: What the batches ask, in rotation.
        steps: Number of batches.
        batch: Size of a batch.
        seed: Seed of the questions.
        types: Whether the words around a mention are supervised to tell its type.
    """

    def __init__(
        self,
        pool: Pool,
        tokenizer: PreTrainedTokenizerFast,
        mixes: Sequence[Mix],
        steps: int,
        batch: int,
        seed: int,
        types: bool = True,
    ) -> None:
        self._pool, self._tokenizer, self._mixes, self._types = pool, tokenizer, mixes, types
        self._coordinates = set(coordinate_ids(tokenizer))
        self._count, self._batch, self._seed = steps * batch, batch, seed

    def __len__(self) -> int:
        """Number of dialogues."""
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Token ids, labels, image features and gazes of one dialogue."""
        rng = item_rng(self._seed, index)
        mix = self._mixes[index // self._batch % len(self._mixes)]
        pool = (self._pool.newcomers if mix is MEETING else None) or self._pool
        place = rng.randrange(len(pool))
        dialogue = ask(pool.scenes[place], rng, mix)
        encoded = encode_dialogue(dialogue, self._tokenizer)
        if not self._types:
            encoded.typed.clear()
        features = pool.features[place] if dialogue.with_image and pool.features is not None else None
        scene = pool.scenes[place] if dialogue.with_image else ()
        looks = gazes(encoded, scene, self._coordinates, dialogue)
        return {
            "ids": encoded.ids,
            "labels": encoded.labels,
            "features": features,
            "gazes": looks,
            "named": encoded.named,
            "typed": encoded.typed,
        }


class PadDialogues:
    """Pads dialogues on the right. Either all dialogues of a batch have an image or none has."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """(B, T) `input_ids`, `attention_mask` and `labels`; (B, patches, width) `features` with images."""
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
        typed = [
            (row, at, type_) for row, item in enumerate(items) for _, places, type_ in item["typed"] for at in places
        ]
        if typed:
            batch["typed"] = torch.tensor(typed)
        looks = [(row, layer, at, places) for row, item in enumerate(items) for layer, at, places in item["gazes"]]
        if looks:
            batch["gaze_from"] = torch.tensor([look[:3] for look in looks])
            batch["gaze_to"] = torch.zeros(len(looks), longest, dtype=torch.bool)
            for place, (*_, places) in enumerate(looks):
                batch["gaze_to"][place, places] = True
        return batch
