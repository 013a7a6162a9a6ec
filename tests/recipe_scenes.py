"""Scenes and dialogues of pre-training, and what tests read from them."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast
from worlds import Lazy

from gmner.data.post import SceneObject
from gmner.recipes.embedded import questions
from gmner.recipes.embedded.dialogues import (
    PadDialogues,
    encode_dialogue,
)
from gmner.recipes.embedded.newcomers import known_set
from gmner.recipes.embedded.pool import Scene, drawn_scene, normalise
from gmner.recipes.embedded.questions import Dialogue
from gmner.signatures.boxes import Box

DRAWN = Lazy(lambda: [drawn_scene(index) for index in range(40)])
SCENES = Lazy(lambda: [scene for _, scene in DRAWN])
OUTPUTS = {name: list(outputs) for name, outputs in questions._OUTPUTS.items()}


def dialogues() -> Iterator[tuple[str, Scene, Dialogue]]:
    """Every kind of question about every scene, some of which show newcomers."""
    kinds = (
        questions.list_scene, questions.name_boxes, questions.find, questions.verify, questions.extract,
        questions.extract_text_only, questions.answer, questions.compare,
        questions.discuss, questions.transcribe,
    )  # fmt: skip
    for kind in kinds:
        for place, scene in enumerate(SCENES):
            yield kind.__name__, scene, kind(scene, random.Random(place))


def post_text(user: str) -> tuple[str, str | None]:
    """Text and mention of a user message."""
    text, _, mention = user.removeprefix("Post: ").partition("\nEntity: ")
    return text, mention or None


def shown(words: str, scene: Scene) -> list[Box]:
    """The boxes of objects in a scene that this name may refer to."""
    return [thing.box for thing, who in zip(scene.things, scene.cast, strict=True) if words in who.surfaces]


def known_things(scene: Scene) -> list[SceneObject]:
    """What a scene shows without its newcomers, whom nobody can name."""
    return [thing for thing, who in zip(scene.things, scene.cast, strict=True) if who in known_set()]


def batch_of(tokenizer: PreTrainedTokenizerFast, model: Any, kind: Any, count: int = 3) -> dict[str, torch.Tensor]:
    """A padded batch, with pixels and the features of the vision tower."""
    pictures = np.stack([image for image, _ in DRAWN[:count]])
    pixels = torch.from_numpy(normalise(pictures))
    with torch.no_grad():
        features = model.model.vision_model(pixel_values=pixels[:, 0]).last_hidden_state.numpy()
    items = []
    for place in range(count):
        encoded = encode_dialogue(kind(SCENES[place], random.Random(place)), tokenizer)
        looked = {"features": features[place], "gazes": [], "named": [], "typed": []}
        items.append({"ids": encoded.ids, "labels": encoded.labels, **looked})
    return {**PadDialogues(tokenizer.pad_token_id)(items), "pixel_values": pixels}
