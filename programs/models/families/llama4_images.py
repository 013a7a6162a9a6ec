"""The image processor of Llama 4 with Pillow: that of transformers needs torchvision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs, Unpack

from gmner.programs.seams.transformers_seams import OwnPreprocessing

Size = tuple[int, int]


class Llama4ImageProcessorKwargs(ImagesKwargs, total=False):  # type: ignore[call-arg]
    """The settings of `Llama4ImageProcessor` in transformers, which documents them."""

    max_patches: int
    resize_to_max_canvas: bool


class Llama4ImageProcessor(OwnPreprocessing, PilBackend):
    """Fits an image into a canvas of square tiles, and adds the whole image as a last tile if there are several.

    Source: `Llama4ImageProcessor` of transformers 5.23, whose sizes and order it has. It computes in bfloat16 and
    float32, so that pixels may differ by rounding, and one row or column next to the padding may belong to either.
    """

    resample = PILImageResampling.BILINEAR
    image_mean = [0.5, 0.5, 0.5]  # noqa: RUF012 - as in transformers
    image_std = [0.5, 0.5, 0.5]  # noqa: RUF012
    size = {"height": 336, "width": 336}  # noqa: RUF012
    do_resize = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    do_convert_rgb = True
    max_patches = 16
    resize_to_max_canvas = False
    valid_kwargs = Llama4ImageProcessorKwargs
    model_input_names = ["pixel_values"]  # noqa: RUF012

    def __init__(self, **kwargs: Unpack[Llama4ImageProcessorKwargs]) -> None:
        super().__init__(**kwargs)

    def pixels(self, images: list[np.ndarray], *, return_tensors: Any, **settings: Any) -> BatchFeature:
        """`pixel_values` (tiles of all images, channels, side, side) and `aspect_ratios` (images, 2), rows first."""
        tiles, ratios = [], []
        for image in images:
            cut, ratio = self._tiles(image, settings)
            tiles += [self._scaled(tile, settings) for tile in cut]
            ratios.append(list(ratio))
        return BatchFeature(data={"pixel_values": np.stack(tiles), "aspect_ratios": ratios}, tensor_type=return_tensors)

    def _tiles(self, image: np.ndarray, settings: dict[str, Any]) -> tuple[list[np.ndarray], Size]:
        """The tiles of an image, and their (rows, columns)."""
        side, most = settings["size"].height, settings["resize_to_max_canvas"]
        original: Size = (image.shape[-2], image.shape[-1])
        canvas = best_canvas(original, side, settings["max_patches"], most)
        limits = canvas if most else tuple(min(max(o, side), c) for o, c in zip(original, canvas, strict=True))
        scaled = self._resized(image, _inside(original, limits), settings)
        missing = [(0, c - s) for c, s in zip(canvas, scaled.shape[-2:], strict=True)]
        scaled = np.pad(scaled, [(0, 0), *missing])
        rows, columns = canvas[0] // side, canvas[1] // side
        tiles = [
            scaled[:, side * row : side * (row + 1), side * column : side * (column + 1)]
            for row in range(rows)
            for column in range(columns)
        ]
        if len(tiles) > 1:
            tiles.append(self._resized(image, (side, side), settings))
        return tiles, (rows, columns)

    def _resized(self, image: np.ndarray, size: Size, settings: dict[str, Any]) -> np.ndarray:
        return self.resize(image, SizeDict(height=size[0], width=size[1]), resample=settings["resample"])

    def _scaled(self, tile: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
        if settings["do_rescale"]:
            tile = self.rescale(tile, settings["rescale_factor"])
        if settings["do_normalize"]:
            tile = self.normalize(tile, settings["image_mean"], settings["image_std"])
        return tile.astype(np.float32)


def best_canvas(size: Size, side: int, most: int, largest: bool) -> Size:
    """(height, width) of the canvas for an image of `size` (height, width), up to `most` tiles of `side` pixels.

    The canvas that enlarges the image least (with `largest`: most), or else reduces it least; of several, the smallest.
    """
    canvases = [
        (rows * side, n // rows * side) for n in range(most, 0, -1) for rows in range(1, n + 1) if n % rows == 0
    ]
    scales = {canvas: min(c / s for c, s in zip(canvas, size, strict=True)) for canvas in canvases}
    enlarging = [scale for scale in scales.values() if scale >= 1]
    scale = (max if largest else min)(enlarging) if enlarging else max(scales.values())
    return min((canvas for canvas, own in scales.items() if own == scale), key=math.prod)


def _inside(size: Size, limits: Size) -> Size:
    """The largest (height, width) with the aspect ratio of `size` inside of `limits`."""
    scale_high, scale_wide = (limit / length for limit, length in zip(limits, size, strict=True))
    if scale_wide < scale_high:
        return max(min(math.floor(size[0] * scale_wide), limits[0]), 1), limits[1]
    return limits[0], max(min(math.floor(size[1] * scale_high), limits[1]), 1)
