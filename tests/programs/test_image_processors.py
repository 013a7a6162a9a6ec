"""Our image processors with Pillow, for families whose processors in transformers need torchvision.

The sizes and grids were printed by the image processors of transformers 5.23.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from family_checkpoints import build_checkpoint
from PIL import Image
from safetensors.torch import load_file, save_file

from gmner.programs.gmner import GMNER
from gmner.programs.models.families.gemma4_unified_images import Gemma4UnifiedImageProcessor
from gmner.programs.models.families.lfm2_vl_images import Lfm2VlImageProcessor
from gmner.programs.models.families.llama4_images import Llama4ImageProcessor
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.processors import load_processor
from gmner.signatures.schema import Limits


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def channels_last(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32) / 255


@pytest.mark.parametrize(
    ("size", "grid", "whole", "tiles"),
    [
        ((60, 60), (1, 1), [256, 256], 1),
        ((33, 200), (1, 1), [640, 128], 1),
        ((640, 480), (1, 1), [416, 576], 1),
        ((1023, 77), (1, 1), [64, 1024], 1),
        ((1200, 800), (2, 3), [416, 608], 7),
        ((2000, 500), (1, 4), [256, 1024], 5),
        ((1500, 1500), (3, 3), [512, 512], 10),
        ((700, 2100), (3, 1), [864, 288], 4),
        ((1024, 1536), (3, 2), [608, 416], 7),
    ],
)
def test_grids_of_lfm2_vl(size: tuple[int, int], grid: tuple[int, int], whole: list[int], tiles: int):
    found = Lfm2VlImageProcessor()([noise(size)], return_tensors="np", return_row_col_info=True)
    assert (int(found["image_rows"][0]), int(found["image_cols"][0])) == grid
    assert found["image_sizes"][0].tolist() == whole
    assert found["pixel_values"].shape == (tiles, 1024, 768)
    assert found["spatial_shapes"][-1].tolist() == [side // 16 for side in whole]
    assert found["pixel_attention_mask"].sum(1).tolist() == found["spatial_shapes"].prod(1).tolist()


def test_patches_of_lfm2_vl_are_those_of_the_image():
    """An image that is not resized: each patch is a square of it, row by row."""
    image = noise((512, 512))
    found = Lfm2VlImageProcessor()([image], return_tensors="np")
    pixels = channels_last(image)
    for patch in (0, 1, 32, 1023):
        row, column = divmod(patch, 32)
        square = pixels[16 * row : 16 * (row + 1), 16 * column : 16 * (column + 1)]
        assert np.allclose(found["pixel_values"][0, patch].reshape(16, 16, 3) / 2 + 0.5, square, atol=1e-5)


def test_tiles_of_lfm2_vl_are_those_of_the_image():
    image = noise((1536, 1024))
    found = Lfm2VlImageProcessor()([image], return_tensors="np")
    pixels = channels_last(image)
    for tile in range(6):
        row, column = divmod(tile, 3)
        corner = pixels[512 * row : 512 * row + 16, 512 * column : 512 * column + 16]
        assert np.allclose(found["pixel_values"][tile, 0].reshape(16, 16, 3) / 2 + 0.5, corner, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((60, 60), (1, 1)),
        ((640, 480), (2, 2)),
        ((1023, 77), (1, 4)),
        ((1200, 800), (3, 4)),
        ((2000, 500), (2, 6)),
        ((700, 2100), (6, 2)),
        ((1024, 1536), (5, 3)),
    ],
)
def test_grids_of_llama4(size: tuple[int, int], grid: tuple[int, int]):
    found = Llama4ImageProcessor()([noise(size)], return_tensors="np")
    assert tuple(found["aspect_ratios"][0]) == grid
    tiles = grid[0] * grid[1]
    assert found["pixel_values"].shape == (tiles + (tiles > 1), 3, 336, 336)


def test_tiles_of_llama4_are_those_of_the_image():
    """An image that is not resized: its tiles row by row, then the whole image."""
    image = noise((672, 672))
    tiles = Llama4ImageProcessor()([image], return_tensors="np")["pixel_values"] / 2 + 0.5
    pixels = channels_last(image).transpose(2, 0, 1)
    for tile in range(4):
        row, column = divmod(tile, 2)
        square = pixels[:, 336 * row : 336 * (row + 1), 336 * column : 336 * (column + 1)]
        assert np.allclose(tiles[tile], square, atol=1e-5)
    assert abs(tiles[4].mean() - pixels.mean()) < 0.01


@pytest.mark.parametrize(
    ("size", "tokens", "last"),
    [
        ((60, 60), 256, [15, 15]),
        ((33, 200), 246, [5, 40]),
        ((640, 480), 266, [18, 13]),
        ((1023, 77), 240, [59, 3]),
        ((2000, 500), 264, [32, 7]),
    ],
)
def test_grids_of_gemma4_unified(size: tuple[int, int], tokens: int, last: list[int]):
    found = Gemma4UnifiedImageProcessor()([noise(size)], return_tensors="np")
    assert found["num_soft_tokens_per_image"].tolist() == [tokens]
    places = found["image_position_ids"][0]
    assert places.max(0).tolist() == last
    assert (places[:tokens] >= 0).all()
    assert (places[tokens:] == -1).all()
    assert found["pixel_values"].shape == (1, 280, 6912)


def test_squares_of_gemma4_unified_are_those_of_the_image():
    image = noise((768, 768))  # 16 x 16 squares of 48 pixels: not resized
    found = Gemma4UnifiedImageProcessor()([image], return_tensors="np")
    pixels = channels_last(image)
    for token in (0, 1, 16, 255):
        column, row = found["image_position_ids"][0, token]
        assert (row, column) == divmod(token, 16)
        square = pixels[48 * row : 48 * (row + 1), 48 * column : 48 * (column + 1)]
        assert np.allclose(found["pixel_values"][0, token].reshape(48, 48, 3), square, atol=1e-5)


@pytest.mark.parametrize("thinker", ["qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"])
def test_whole_omni_checkpoint_is_loaded_as_its_thinker(thinker: str, tmp_path: Path):
    """The published checkpoints of Qwen-Omni contain a talker as well, and have its model type."""
    alone = build_checkpoint(thinker, tmp_path / "thinker")
    whole = tmp_path / "whole"
    shutil.copytree(alone, whole)
    weights = load_file(alone / "model.safetensors")
    talker = {"talker.weight": next(iter(weights.values())).clone()}
    prefixed = {f"thinker.{name}": value for name, value in weights.items()}
    save_file({**prefixed, **talker}, whole / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": thinker.removesuffix("_thinker"),
        "thinker_config": json.loads((alone / "config.json").read_text()),
    }
    (whole / "config.json").write_text(json.dumps(config))
    post = {"text": "Kevin Durant in Paris", "image": Image.new("RGB", (90, 60), "red")}
    answers = [
        GMNER(load_vlm(folder, cache=False), limits=Limits(reasoning=12, entities=3))(**post)
        for folder in (alone, whole)
    ]
    assert answers[0].reasoning == answers[1].reasoning
    assert answers[0].entities == answers[1].entities


@pytest.mark.parametrize("family", ["lfm2_vl", "llama4", "gemma4_unified", "mistral3"])
def test_published_files_are_read_without_torchvision(family: str, tmp_path: Path):
    """Published checkpoints have a file of their own for the image processor, whose class has the suffix `Fast`."""
    folder = build_checkpoint(family, tmp_path / family)
    stored = json.loads((folder / "processor_config.json").read_text())
    images = stored.pop("image_processor")
    images["image_processor_type"] += "Fast"
    (folder / "processor_config.json").write_text(json.dumps(stored))
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    processor = load_processor(folder, family)
    assert type(processor).__name__ == stored["processor_class"]
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image", "image": noise((90, 60))}, {"type": "text", "text": "Paris"}]}],
        tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True,
    )  # fmt: skip
    assert "pixel_values" in text
