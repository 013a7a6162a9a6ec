"""The image processor of Gemma 4 12B with Pillow: that of transformers needs torchvision."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers.image_processing_utils import BatchFeature
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from gmner.programs.seams.transformers_seams import OwnPreprocessing


class Gemma4UnifiedImageProcessor(OwnPreprocessing, Gemma4ImageProcessorPil):
    """The patches of Gemma 4, merged into larger squares, because the model has no vision encoder that pools them.

    Source: `Gemma4UnifiedImageProcessor` of transformers 5.23. Pixels may differ by the rounding of the resize.
    """

    def pixels(self, images: list[np.ndarray], *, return_tensors: Any, **settings: Any) -> BatchFeature:
        """`pixel_values` (images, tokens, values) and `image_position_ids` (images, tokens, 2); -1 is padding."""
        found = self.stock_pixels(images, return_tensors=None, **settings)
        pool, length = settings["pooling_kernel_size"], settings["max_soft_tokens"]
        merged = [
            merged_patches(patches, positions, pool, length)
            for patches, positions in zip(found["pixel_values"], found["image_position_ids"], strict=True)
        ]
        found["pixel_values"], found["image_position_ids"] = (np.stack(part) for part in zip(*merged, strict=True))
        return BatchFeature(data=dict(found), tensor_type=return_tensors)


def merged_patches(patches: np.ndarray, positions: np.ndarray, pool: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Merge squares of `pool` x `pool` patches into one each, row by row.

    Args:
        patches: The patches of an image row by row, then padding, (patches, side * side * channels).
        positions: Their (column, row); -1 is padding, (patches, 2).
        pool: Side of the squares in patches.
        length: Number of squares after padding.

    Returns:
        The squares, (length, pool * side * pool * side * channels), and their (column, row), (length, 2).
    """
    columns, rows = positions.max(axis=0) + 1
    side = round((patches.shape[-1] // 3) ** 0.5)
    grid = patches[: rows * columns].reshape(rows // pool, pool, columns // pool, pool, side, side, 3)
    squares = grid.transpose(0, 2, 1, 4, 3, 5, 6).reshape(rows * columns // pool**2, -1)
    x, y = np.meshgrid(np.arange(columns // pool), np.arange(rows // pool), indexing="xy")
    missing = ((0, length - len(squares)), (0, 0))
    places = np.stack([x, y], axis=-1).reshape(-1, 2)
    return np.pad(squares, missing), np.pad(places, missing, constant_values=-1)
