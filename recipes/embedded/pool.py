"""The scenes of pre-training: images at the model's resolution, with what they show."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import Idefics3ForConditionalGeneration

from gmner.data.post import SceneObject
from gmner.data.world.cast import Character, character
from gmner.data.world.drawing.picture import picture
from gmner.data.world.drawing.portraits import portrait
from gmner.data.world.generate import TYPES
from gmner.data.world.plans import Casting, plan
from gmner.recipes.embedded.model import IMAGE_SIDE
from gmner.recipes.embedded.newcomers import known_set, newcomer
from gmner.signatures.boxes import Box

SLICES = {"shown": 0.6, "lookalike": 0.2, "several": 0.1, "absent": 0.1}
MENTIONS = {1: 0.25, 2: 0.35, 3: 0.25, 4: 0.15}
ALSO_SHOWN = 0.7
"""Settings of the images, as those of a `World`. More of them than in a world show several entities."""

NEWCOMERS = 0.2
"""Share of invented entities among those that images show."""

_PORTRAITS = 600  # of about half a megabyte each


@dataclass(frozen=True, slots=True)
class Scene:
    """What an image shows.

    Attributes:
        things: The entities from left to right, with boxes in pixels of the world's images.
        cast: The entity of each of the things.
    """

    things: tuple[SceneObject, ...] = ()
    cast: tuple[Character, ...] = ()

    @classmethod
    def of(cls, things: Sequence[SceneObject], newcomers: Sequence[Character] = ()) -> Scene:
        """The scene of these entities of the world and newcomers, without props and banners."""
        new = {who.key: who for who in newcomers}
        entities = tuple(thing for thing in things if thing.type)
        return cls(entities, tuple(new.get((o.name, o.type)) or character(o.name, o.type) for o in entities))


@dataclass(frozen=True, slots=True)
class Pool:
    """Scenes in memory.

    Attributes:
        images: (N, side, side, 3) uint8, memory-mapped.
        scenes: What each image shows.
        features: (N, patches, width) float16, the frozen tower's output, or None before the vision stage.
    """

    images: np.ndarray
    scenes: list[Scene]
    features: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.scenes)


def unseen_pool(count: int) -> Pool:
    """`count` empty scenes for the stage without images."""
    return Pool(np.zeros((count, 1, 1, 3), np.uint8), [Scene()] * count)


def drawn_scene(index: int) -> tuple[np.ndarray, Scene]:
    """Draw the scene with this index: (side, side, 3) uint8 pixels, and what they show."""
    rng = item_rng("scene", index)
    casting = Casting(MENTIONS, TYPES, ALSO_SHOWN, rng)
    _, shown = plan(rng.choices(list(SLICES), list(SLICES.values()))[0], casting)
    cast = {who: newcomer(rng, who) if rng.random() < NEWCOMERS else who for who in dict.fromkeys(shown)}
    if portrait.cache_info().currsize > _PORTRAITS:
        portrait.cache_clear()
    image, things = picture([cast[who] for who in shown], rng)
    small = np.asarray(image.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS))
    return small, Scene.of(things, [new for who, new in cast.items() if new is not who])


def _record(index: int) -> tuple[np.ndarray, list[list[object]]]:
    """The pixels of a scene, and a row of JSON values for each entity in it."""
    small, scene = drawn_scene(index)
    return small, [
        [o.name, o.type, o.depth, *o.box.as_tuple(), None if who in known_set() else asdict(who)]
        for o, who in zip(scene.things, scene.cast, strict=True)
    ]


def build_pool(folder: Path, count: int, workers: int = 1) -> Pool:
    """Read `count` scenes from `folder`, after drawing them there if needed.

    They show entities of the split `pretrain` and newcomers. The texts are written later.
    """
    images, scenes = folder / f"scenes-{count}.npy", folder / f"scenes-{count}.json"
    if not scenes.exists():
        folder.mkdir(parents=True, exist_ok=True)
        array = np.lib.format.open_memmap(images, mode="w+", dtype=np.uint8, shape=(count, IMAGE_SIDE, IMAGE_SIDE, 3))
        gold = []
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for i, (image, objects) in enumerate(
                tqdm(pool.imap(_record, range(count), 64), total=count, desc="scenes")
            ):
                array[i] = image
                gold.append(objects)
        array.flush()
        part = scenes.with_suffix(".part")
        part.write_text(json.dumps(gold), encoding="utf-8")
        os.replace(part, scenes)
    records = json.loads(scenes.read_text(encoding="utf-8"))
    return Pool(np.load(images, mmap_mode="r"), [_scene(record) for record in records])


def _scene(record: list[list[Any]]) -> Scene:
    things = [SceneObject(name, type_, Box(*box), depth=depth) for name, type_, depth, *box, _ in record]
    new = [row[-1] for row in record if row[-1]]
    return Scene.of(
        things,
        [Character(**{**who, "aliases": tuple(who["aliases"]), "colours": tuple(who["colours"])}) for who in new],
    )


@torch.inference_mode()
def add_features(pool: Pool, model: Idefics3ForConditionalGeneration, folder: Path, batch: int = 64) -> Pool:
    """The pool with the output of the vision tower for every image, cached in `folder`."""
    file = folder / f"features-{len(pool)}.npy"
    if not file.exists():
        part = file.with_suffix(".part")
        config = model.config.vision_config
        shape = (len(pool), (config.image_size // config.patch_size) ** 2, config.hidden_size)
        array = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
        for start in tqdm(range(0, len(pool), batch), desc="features"):
            pixels = torch.from_numpy(normalise(pool.images[start : start + batch]))
            array[start : start + batch] = model.model.vision_model(pixel_values=pixels[:, 0]).last_hidden_state.numpy()
        array.flush()
        os.replace(part, file)
    return replace(pool, features=np.load(file, mmap_mode="r"))


def normalise(images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) uint8 -> (N, 1, 3, H, W) float32 in -1..1, as the processor does."""
    return (images.astype(np.float32) / 127.5 - 1.0).transpose(0, 3, 1, 2)[:, None]


def item_rng(*parts: object) -> random.Random:
    """A random generator that depends only on `parts`."""
    return random.Random("/".join(map(str, parts)))
