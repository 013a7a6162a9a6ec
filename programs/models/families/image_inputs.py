"""`ImageInputs`: how the processor of a family passes images to its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]


class ImageInputs(Protocol):
    """What the image cache and training with shared prompts need to know about a family.

    `Patches`, `PaddedTiles` and `Tiles` implement it for the layouts of the built-in families. Images below are those
    of a batch, in the order of the prompts; a processor may split an image into several tiles.

    Attributes:
        pixel_inputs: Names of the inputs that the model does not need if it gets encoded images instead.
        position_axes: Number of axes of the position ids: 1, or 3 with M-RoPE.
    """

    pixel_inputs: tuple[str, ...]
    position_axes: int

    def split(self, inputs: Tensors) -> Iterator[dict[str, torch.Tensor]]:
        """Split the processor's output for a batch into images or tiles, which can be encoded separately.

        Args:
            inputs: The processor's output, with `pixel_values`.

        Yields:
            The inputs of `get_image_features` for one image or tile. Those of several, concatenated, are the inputs for
            all of them.
        """

    def feature_options(self, config: Any) -> dict[str, Any]:
        """Further arguments of `get_image_features`, taken from the model's configuration."""

    def joined(self, features: Sequence[torch.Tensor]) -> Any:
        """`pooler_output` of several images or tiles, made of the features (tokens, hidden size) of each."""

    def counts(self, image_tokens: torch.Tensor, images: Tensors) -> dict[str, list[int]]:
        """How many elements of each image input belong to each row of a batch.

        Args:
            image_tokens: Number of image tokens in each row, (rows,).
            images: The image inputs of the batch.
        """

    def positions(self, model: Any, prompts: torch.Tensor, mask: torch.Tensor, images: Tensors) -> torch.Tensor | None:
        """Position ids of prompts with images, (axes, rows, length).

        Args:
            model: The model, without adapter.
            prompts: Token ids, (rows, length).
            mask: True for the tokens of the prompts, (rows, length).
            images: The image inputs of the prompts, and `mm_token_type_ids` if the processor returns them.

        Returns:
            None if they are the numbers of the tokens that the mask marks.
        """


def proportional(image_tokens: torch.Tensor, elements: torch.Tensor) -> torch.Tensor:
    """Elements of each row, (rows,): every image token stands for the same number of elements."""
    return image_tokens * len(elements) // image_tokens.sum().clamp(min=1)
