"""`ResizeRule`: the resize of the Qwen-VL image processors, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gmner.signatures.boxes import Size
from gmner.signatures.errors import ImageError, InputError

_MAX_ASPECT = 200
_LARGEST = 2**40


@dataclass(frozen=True, slots=True)
class ResizeRule:
    """The resize of the Qwen-VL processors: sides become multiples of `factor`, the area is bounded.

    Args:
        factor: Patch size times merge size, pixels.
        min_pixels: Smallest area after the resize.
        max_pixels: Largest area after the resize.

    Raises:
        InputError: A value that is not a whole number of at least 1.
    """

    factor: int
    min_pixels: int
    max_pixels: int

    def __post_init__(self) -> None:
        """Check that all values are whole numbers of at least 1."""
        values = (self.factor, self.min_pixels, self.max_pixels)
        if not all(isinstance(value, int) and 1 <= value <= _LARGEST for value in values):
            raise InputError(
                "factor, min_pixels and max_pixels must be whole numbers of at least 1",
                received=values,
                accepted="whole numbers of at least 1",
            )

    def __call__(self, size: Size) -> Size:
        """(width, height) of the original image -> (width, height) after the resize.

        Raises:
            ImageError: One side is more than 200 times as long as the other, which the processor refuses.

        Source: `smart_resize` of the Qwen2-VL image processor in transformers, which cannot be imported without torch.
        """
        width, height = size
        if max(size) > _MAX_ASPECT * min(size):
            raise ImageError("An image is too narrow for the model", received=size, accepted="aspect ratio up to 200")
        factor = self.factor
        wide, high = round(width / factor) * factor, round(height / factor) * factor
        if wide * high > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            wide, high = (max(factor, math.floor(side / shrink / factor) * factor) for side in (width, height))
        elif wide * high < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            wide, high = (math.ceil(side * grow / factor) * factor for side in (width, height))
        return wide, high

    @classmethod
    def of(cls, image_processor: Any) -> ResizeRule:
        """The rule of a loaded Qwen-VL image processor, with its own pixel limits."""
        size = image_processor.size
        factor = image_processor.patch_size * image_processor.merge_size
        return cls(factor, size["shortest_edge"], size["longest_edge"])
