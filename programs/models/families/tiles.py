"""`Tiles`: the image inputs of InternVL, the tiles of all images in one sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.image_inputs import Tensors, proportional

if TYPE_CHECKING:
    import torch


class Tiles:
    """`pixel_values` (tiles, channels, height, width) of all images; see `ImageInputs`."""

    pixel_inputs: tuple[str, ...] = ("pixel_values",)
    position_axes = 1

    def split(self, inputs: Tensors) -> Iterator[dict[str, torch.Tensor]]:
        """One part for each tile."""
        for tile in inputs["pixel_values"]:
            yield {"pixel_values": tile[None]}

    def feature_options(self, config: Any) -> dict[str, Any]:
        """The layer of the vision encoder that features are taken from, and how."""
        return {name: getattr(config, name) for name in ("vision_feature_layer", "vision_feature_select_strategy")}

    def joined(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """One tensor, (tiles, tokens, hidden size)."""
        import torch

        return torch.stack(list(features))

    def counts(self, image_tokens: torch.Tensor, images: Tensors) -> dict[str, list[int]]:
        """Tiles of each row."""
        return {"pixel_values": proportional(image_tokens, images["pixel_values"]).tolist()}

    def positions(self, model: Any, prompts: torch.Tensor, mask: torch.Tensor, images: Tensors) -> None:
        """None: positions are the numbers of the tokens."""
