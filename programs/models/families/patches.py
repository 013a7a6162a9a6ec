"""`Patches`: the image inputs of the Qwen-VL families, a sequence of patches and the grid of each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.image_inputs import Tensors, proportional

if TYPE_CHECKING:
    import torch


class Patches:
    """`pixel_values` (patches, values) of all images, and `image_grid_thw` (images, 3); see `ImageInputs`."""

    pixel_inputs: tuple[str, ...] = ("pixel_values",)
    position_axes = 3

    def split(self, inputs: Tensors) -> Iterator[dict[str, torch.Tensor]]:
        """One part for each image."""
        grids = inputs["image_grid_thw"]
        images = inputs["pixel_values"].split(grids.prod(-1).tolist())
        for image, grid in zip(images, grids, strict=True):
            yield {"pixel_values": image, "image_grid_thw": grid[None]}

    def feature_options(self, config: Any) -> dict[str, Any]:
        """None."""
        return {}

    def joined(self, features: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """The features of each image by themselves."""
        return features

    def counts(self, image_tokens: torch.Tensor, images: Tensors) -> dict[str, list[int]]:
        """Patches and grids of each row."""
        import torch

        patches = proportional(image_tokens, images["pixel_values"])
        ends = torch.searchsorted(images["image_grid_thw"].prod(-1).cumsum(0), patches.cumsum(0), right=True)
        grids = ends.diff(prepend=ends.new_zeros(1))
        return {"pixel_values": patches.tolist(), "image_grid_thw": grids.tolist()}

    def positions(self, model: Any, prompts: torch.Tensor, mask: torch.Tensor, images: Tensors) -> torch.Tensor | None:
        """The positions of M-RoPE, for prompts with images."""
        from gmner.programs.seams.transformers_seams import mrope_positions

        if "image_grid_thw" not in images:
            return None
        kinds = images.get("mm_token_type_ids")
        kinds = (prompts == model.config.image_token_id).int() if kinds is None else kinds
        return mrope_positions(model, prompts, kinds, images["image_grid_thw"], mask.long())
