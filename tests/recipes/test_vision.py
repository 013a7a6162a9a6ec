"""The vision stage of the embedded model: targets, losses and images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor, PreTrainedTokenizerFast
from worlds import drawn

from gmner.data.post import SceneObject
from gmner.data.world.cast import character, characters
from gmner.data.world.looks import COLOURS
from gmner.recipes.embedded.model import IMAGE_SIDE, build_model
from gmner.recipes.embedded.pool import normalise
from gmner.recipes.embedded.tokenizer import SCALE
from gmner.recipes.embedded.vision import (
    GRID,
    KINDS,
    NAMES,
    CellTeacher,
    cell_targets,
    cells_of,
    collate_cells,
    soft_coordinate_loss,
)
from gmner.signatures.boxes import Box

pytestmark = pytest.mark.slow

POSTS = drawn("pretrain", 40, seed=1)


@given(target=st.integers(0, SCALE), near=st.integers(1, 10), more=st.integers(1, 40), noise=st.integers(0, 99))
def test_coordinate_loss_is_smallest_at_the_target(target: int, near: int, more: int, noise: int):
    places = torch.arange(SCALE + 1)

    def loss(centre: int) -> float:
        logits = -((places - centre).float() ** 2)[None] / 2
        return soft_coordinate_loss(logits, torch.tensor([target])).item()

    assert loss(target) < loss(target + near) < loss(target + near + more)
    assert loss(target) < loss(target - near) < loss(target - near - more)
    bell = -((places - target).float() ** 2)[None] / 2
    moved = bell + torch.randn(bell.shape, generator=torch.Generator().manual_seed(noise))
    assert loss(target) <= soft_coordinate_loss(moved, torch.tensor([target])).item()


def test_cells_of_a_small_scene():
    first, second = character("Mira Voss", "PER"), character("Karsk", "LOC")
    scene = [
        SceneObject(second.name, second.type, Box(120.0, 40.0, 320.0, 320.0), depth=1),
        SceneObject(first.name, first.type, Box(0.0, 0.0, 160.0, 80.0), depth=0),
    ]
    names, looks, boxes = (values.reshape(GRID, GRID, *values.shape[1:]) for values in cell_targets(scene))
    one, two, nothing = NAMES.index(first.name), NAMES.index(second.name), len(NAMES)
    wanted = np.full((GRID, GRID), nothing)
    wanted[0:2, 0:4] = one
    wanted[1:8, 3:8] = two  # closer, so it gets the cell that both cover
    assert (names == wanted).all()
    colours = list(COLOURS)
    assert looks[0, 0].tolist() == [KINDS.index(("PER", "long")), colours.index("black"), colours.index("yellow")]
    assert boxes[0, 0].tolist() == [0, 0, 50, 25]
    assert boxes[1, 3].tolist() == [38, 12, 100, 100]
    assert boxes[7, 0].tolist() == [0, 0, 0, 0]


def test_images_are_normalized_like_in_the_processor(checkpoint: Path):
    processor = AutoProcessor.from_pretrained(checkpoint)
    post = POSTS[3]
    small = np.asarray(post.image.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS))
    seen = processor(images=[[post.image]], text=["<image>"], return_tensors="pt")["pixel_values"][0]
    ours = torch.from_numpy(normalise(small[None])[0])
    assert seen.shape == ours.shape == (1, 3, IMAGE_SIDE, IMAGE_SIDE)
    assert torch.allclose(seen, ours, atol=0.03)


def test_vision_heads_learn_one_batch(tokenizer: PreTrainedTokenizerFast):
    posts = POSTS[:4]
    items = []
    for post in posts:
        names, looks, boxes = cell_targets([thing for thing in post.scene if thing.type])
        image = np.asarray(post.image.resize((IMAGE_SIDE, IMAGE_SIDE)))
        items.append({"image": image, "names": names, "looks": looks, "boxes": boxes})
    batch, teacher = collate_cells(items), CellTeacher(build_model(tokenizer), tokenizer)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = teacher(**batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_cells_of_an_object_or_its_center():
    who = characters()[0]
    assert cells_of([SceneObject(who.name, who.type, Box(0.0, 0.0, 80.0, 40.0))]) == {who.key: [0, 1]}
    assert cells_of([SceneObject(who.name, who.type, Box(41.0, 41.0, 50.0, 50.0))]) == {who.key: [GRID + 1]}
    assert cells_of([]) == {}
