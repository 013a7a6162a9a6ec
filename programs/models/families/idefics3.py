"""Idefics3, the architecture of the embedded model: coordinates in 0..1000, images split into padded tiles."""

from __future__ import annotations

from typing import Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.padded_tiles import PaddedTiles


def longest_edge_pixels(image_processor: Any) -> int:
    """Number of pixels of a square image whose sides are as long as the processor allows."""
    return int(image_processor.size["longest_edge"]) ** 2


IDEFICS3 = ModelFamily(
    "idefics3",
    served_as=r"idefics[-_]?3",
    image_pixels=longest_edge_pixels,
    image_inputs=PaddedTiles(),
    title="Idefics3",
    convention="none",
    source="no statement was found",
)
