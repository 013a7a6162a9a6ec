"""The scenes of pre-training: images at the model's resolution, with what they show."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import Idefics3ForConditionalGeneration

from gmner.data.post import SceneObject
from gmner.data.world.cast import known
from gmner.data.world.drawing import picture
from gmner.data.world.generate import World
from gmner.recipes.embedded.model import IMAGE_SIDE
from gmner.recipes.embedded.strangers import newcomer
from gmner.signatures.boxes import Box

SCENES = World(
    seed=1,
    slices={"shown": 0.6, "lookalike": 0.2, "several": 0.1, "absent": 0.1},
    mentions={1: 0.25, 2: 0.35, 3: 0.25, 4: 0.15},
    also_shown=0.7,
)
"""Settings of the images."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Scenes in memory.

    Attributes:
        images: (N, side, side, 3) uint8, memory-mapped.
        scenes: The entities that each image shows, from left to right, with boxes in pixels of the world's images.
        features: (N, patches, width) float16, the frozen tower's output, or None before the vision stage.
        newcomers: Further scenes, which show newcomers.
    """

    images: np.ndarray
    scenes: list[tuple[SceneObject, ...]]
    features: np.ndarray | None = None
    newcomers: Pool | None = None

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.scenes)


def unseen_pool(count: int) -> Pool:
    """`count` empty scenes for the stage without images."""
    return Pool(np.zeros((count, 1, 1, 3), np.uint8), [()] * count)


Drawn = tuple[np.ndarray, list[list[object]]]


def draw_known(index: int) -> Drawn:
    """A scene of the `pretrain` split.

    More of its images than in the benchmark show several entities, since each one is a training signal.
    """
    post = SCENES.post("pretrain", index)
    if not isinstance(post.image, Image.Image) or post.scene is None:
        raise TypeError("A post of the world must have an image and a scene")
    return _record(post.image, post.scene)


def draw_newcomers(index: int) -> Drawn:
    """A scene with one or two newcomers and up to three known entities."""
    rng = item_rng("newcomers", index)
    new = [newcomer(rng) for _ in range(rng.choice((1, 1, 2)))]
    others = rng.sample(known(), rng.choice((0, 1, 2, 3)))
    return _record(*picture(rng.sample([*new, *others], len(new) + len(others)), rng))


def _record(image: Image.Image, scene: Sequence[SceneObject]) -> Drawn:
    small = image.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(small), [[o.name, o.type, o.depth, *o.box.as_tuple()] for o in scene if o.type]


def build_pool(folder: Path, name: str, count: int, draw: Callable[[int], Drawn], workers: int = 1) -> Pool:
    """Read `count` scenes from `folder`, after drawing them there if needed. Their texts are written later."""
    images, scenes = folder / f"{name}-{count}.npy", folder / f"{name}-{count}.json"
    if not scenes.exists():
        folder.mkdir(parents=True, exist_ok=True)
        array = np.lib.format.open_memmap(images, mode="w+", dtype=np.uint8, shape=(count, IMAGE_SIDE, IMAGE_SIDE, 3))
        gold = []
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for i, (image, objects) in enumerate(tqdm(pool.imap(draw, range(count), 64), total=count, desc=name)):
                array[i] = image
                gold.append(objects)
        array.flush()
        part = scenes.with_suffix(".part")
        part.write_text(json.dumps(gold), encoding="utf-8")
        os.replace(part, scenes)
    records = json.loads(scenes.read_text(encoding="utf-8"))
    parsed = [
        tuple(SceneObject(name, type_, Box(*box), depth=depth) for name, type_, depth, *box in record)
        for record in records
    ]
    return Pool(np.load(images, mmap_mode="r"), parsed)


@torch.inference_mode()
def add_features(pool: Pool, model: Idefics3ForConditionalGeneration, file: Path, batch: int = 64) -> Pool:
    """The pool with the output of the vision tower for every image, cached in `file`."""
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
