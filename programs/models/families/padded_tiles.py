"""`PaddedTiles`: the image inputs of the Idefics families, tiles of each row of a batch, padded to the same number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.image_inputs import Tensors

if TYPE_CHECKING:
    import torch


class PaddedTiles:
    """`pixel_values` (rows, tiles, channels, height, width) and `pixel_attention_mask`; see `ImageInputs`."""

    pixel_inputs: tuple[str, ...] = ("pixel_values", "pixel_attention_mask")
    position_axes = 1

    def split(self, inputs: Tensors) -> Iterator[dict[str, torch.Tensor]]:
        """One part for each tile. Tiles of zeros are the padding of rows with fewer tiles."""
        masks = inputs["pixel_attention_mask"].flatten(0, 1)
        for tile, mask in zip(inputs["pixel_values"].flatten(0, 1), masks, strict=True):
            if tile.any():
                yield {"pixel_values": tile[None, None], "pixel_attention_mask": mask[None, None]}

    def feature_options(self, config: Any) -> dict[str, Any]:
        """None."""
        return {}

    def joined(self, features: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """The features of each tile by themselves."""
        return features

    def counts(self, image_tokens: torch.Tensor, images: Tensors) -> dict[str, list[int]]:
        """Empty: every input has one element for each row."""
        return {}

    def positions(self, model: Any, prompts: torch.Tensor, mask: torch.Tensor, images: Tensors) -> None:
        """None: positions are the numbers of the tokens."""
