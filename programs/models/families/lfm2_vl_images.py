"""The image processor of LFM2-VL with Pillow: that of transformers needs torchvision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs, Unpack

from gmner.programs.seams.transformers_seams import OwnPreprocessing

Grid = tuple[int, int]


class Lfm2VlImageProcessorKwargs(ImagesKwargs, total=False):  # type: ignore[call-arg]
    """The settings of `Lfm2VlImageProcessor` in transformers, which documents them."""

    downsample_factor: int
    do_image_splitting: bool
    min_tiles: int
    max_tiles: int
    use_thumbnail: bool
    min_image_tokens: int
    max_image_tokens: int
    encoder_patch_size: int
    tile_size: int
    max_pixels_tolerance: float
    do_pad: bool
    return_row_col_info: bool


class Lfm2VlImageProcessor(OwnPreprocessing, PilBackend):
    """Resizes an image, or splits a large one into tiles and a thumbnail, and cuts each into a sequence of patches.

    Source: `Lfm2VlImageProcessor` of transformers 5.23, whose sizes, order and padding it has. Pixels may differ by the
    rounding of the resize.
    """

    downsample_factor = 2
    do_image_splitting = True
    min_tiles = 2
    max_tiles = 10
    use_thumbnail = True
    min_image_tokens = 64
    max_image_tokens = 256
    encoder_patch_size = 16
    tile_size = 512
    max_pixels_tolerance = 2.0
    do_resize = True
    size = {"height": 512, "width": 512}  # noqa: RUF012 - as in transformers
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    do_convert_rgb = True
    do_pad = True
    return_row_col_info = False
    image_mean = IMAGENET_STANDARD_MEAN
    image_std = IMAGENET_STANDARD_STD
    valid_kwargs = Lfm2VlImageProcessorKwargs
    model_input_names = ["pixel_values", "pixel_attention_mask", "spatial_shapes"]  # noqa: RUF012

    def __init__(self, **kwargs: Unpack[Lfm2VlImageProcessorKwargs]) -> None:
        super().__init__(**kwargs)
        tile = (self.tile_size // self.encoder_patch_size) ** 2 if self.do_image_splitting else 0
        self.max_num_patches = max(self.max_image_tokens * self.downsample_factor**2, tile)

    def pixels(self, images: list[np.ndarray], *, return_tensors: Any, **settings: Any) -> BatchFeature:
        """`pixel_values` (tiles, patches, values), with the patches of each tile and the grid of each image."""
        length = settings["max_image_tokens"] * settings["downsample_factor"] ** 2
        if settings["do_image_splitting"]:
            length = max(length, (settings["tile_size"] // settings["encoder_patch_size"]) ** 2)
        pixels, masks, shapes = [], [], []
        grids, sizes = [], []
        for image in images:
            tiles, grid, size = self._tiles(image, settings)
            grids.append(grid)
            sizes.append(list(size))
            for tile in tiles:
                patches, shape = self._patches(tile, settings)
                padding = length - len(patches) if settings["do_pad"] else 0
                pixels.append(np.pad(patches, ((0, padding), (0, 0))))
                masks.append(np.arange(len(patches) + padding, dtype=np.int32) < len(patches))
                shapes.append(shape)
        data: dict[str, Any] = {"pixel_values": np.stack(pixels)}
        if settings["do_pad"]:
            data |= {"pixel_attention_mask": np.stack(masks).astype(np.int32), "spatial_shapes": np.array(shapes)}
        if settings["return_row_col_info"]:
            columns, rows = zip(*grids, strict=True)
            data |= {"image_rows": list(rows), "image_cols": list(columns), "image_sizes": sizes}
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _tiles(self, image: np.ndarray, settings: dict[str, Any]) -> tuple[list[np.ndarray], Grid, Grid]:
        """The tiles of an image, their (columns, rows), and (height, width) of the whole image after the resize."""
        height, width = image.shape[-2:]
        side = settings["encoder_patch_size"] * settings["downsample_factor"]
        whole = _fitted(height, width, side, settings["min_image_tokens"], settings["max_image_tokens"])
        rounded = [max(settings["encoder_patch_size"], round(length / side) * side) for length in (height, width)]
        limit = settings["max_image_tokens"] * side**2 * settings["max_pixels_tolerance"]
        most = (settings["min_tiles"], settings["max_tiles"])
        if not settings["do_image_splitting"] or most == (1, 1) or math.prod(rounded) <= limit:
            return [self._resized(image, whole, settings)], (1, 1), whole
        tile = settings["tile_size"]
        columns, rows = closest_grid(width, height, *most, tile)
        large = self._resized(image, (tile * rows, tile * columns), settings)
        tiles = [
            large[:, tile * row : tile * (row + 1), tile * column : tile * (column + 1)]
            for row in range(rows)
            for column in range(columns)
        ]
        if settings["use_thumbnail"] and len(tiles) > 1:
            tiles.append(self._resized(image, whole, settings))
        return tiles, (columns, rows), whole

    def _resized(self, image: np.ndarray, size: Grid, settings: dict[str, Any]) -> np.ndarray:
        return self.resize(image, SizeDict(height=size[0], width=size[1]), resample=settings["resample"])

    def _patches(self, tile: np.ndarray, settings: dict[str, Any]) -> tuple[np.ndarray, Grid]:
        """The patches of a tile, (patches, values), and their (rows, columns)."""
        if settings["do_rescale"]:
            tile = self.rescale(tile, settings["rescale_factor"])
        if settings["do_normalize"]:
            tile = self.normalize(tile, settings["image_mean"], settings["image_std"])
        patch, channels = settings["encoder_patch_size"], tile.shape[0]
        rows, columns = tile.shape[-2] // patch, tile.shape[-1] // patch
        cut = tile.reshape(channels, rows, patch, columns, patch).transpose(1, 3, 2, 4, 0)
        return cut.reshape(rows * columns, -1).astype(np.float32), (rows, columns)


def closest_grid(width: int, height: int, fewest: int, most: int, tile: int) -> Grid:
    """(columns, rows) of `fewest` to `most` tiles whose aspect ratio is closest to that of the image."""
    # A set, sorted by size only: grids of one size are in the order of transformers, so that ties end alike.
    grids = {
        (w, h)
        for n in range(fewest, most + 1)
        for w in range(1, n + 1)
        for h in range(1, n + 1)
        if fewest <= w * h <= most
    }
    best, best_difference = (1, 1), math.inf
    for grid in sorted(grids, key=math.prod):
        difference = abs(width / height - grid[0] / grid[1])
        large = width * height > 0.5 * tile * tile * math.prod(grid)
        if difference < best_difference or (difference == best_difference and large):
            best, best_difference = grid, difference
    return best


def _fitted(height: int, width: int, side: int, fewest: int, most: int) -> Grid:
    """(height, width) after the resize: multiples of `side`, with `fewest` to `most` squares of that side."""
    high, wide = (max(side, round(length / side) * side) for length in (height, width))
    if high * wide > most * side**2:
        shrink = math.sqrt(height * width / (most * side**2))
        high, wide = (max(side, math.floor(length / shrink / side) * side) for length in (height, width))
    elif high * wide < fewest * side**2:
        grow = math.sqrt(fewest * side**2 / (height * width))
        high, wide = (math.ceil(length * grow / side) * side for length in (height, width))
    return high, wide
