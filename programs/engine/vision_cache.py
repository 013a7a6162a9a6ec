"""`VisionFeatureCache`: keeps the vision encoder's output, so that several calls with one image encode it once.

A staged program makes several calls for a post, and an optimizer runs the same posts again. transformers accepts
encoded images as `mm_encoder_outputs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import xxhash
from transformers import PreTrainedModel

from gmner.programs.engine.recent import Recent
from gmner.programs.seams.transformers_seams import with_encoded_images

_GRIDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_PADDED = ("idefics3", "smolvlm")
_TILES = ("internvl",)

_CAPACITY_BYTES = 256 * 2**20
# Capacity in bytes. The features of one image can take 100 MB in a large model.

_Part = dict[str, torch.Tensor]
"""The pixels of an image, or of a tile of one, with the processor's other inputs for it."""

_Features = tuple[torch.Tensor, ...]
"""The features of a part, (tokens, hidden size): one tensor, or one for each layer that the model takes them from."""


class VisionFeatureCache:
    """Replaces pixels by cached features. Not thread-safe, and only valid while the model's weights do not change.

    Args:
        model: The model. Images of a family that is not listed in this file are not cached.
        kept: Capacity in images, or in tiles for families that split an image.
    """

    def __init__(self, model: PreTrainedModel, kept: int = 32) -> None:
        self._model, self._family = model, model.config.model_type
        self._cache: Recent[_Features] = Recent(_CAPACITY_BYTES, kept)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the pixels in the processor's output by `mm_encoder_outputs`."""
        parts = list(self._parts(inputs))
        if not parts:
            return dict(inputs)
        keys = [_key(part) for part in parts]
        seen = {key: sight for key in keys if (sight := self._cache.get(key)) is not None}
        missing = {key: part for key, part in zip(keys, parts, strict=True) if key not in seen}
        if missing:
            with torch.inference_mode():
                encoded = dict(zip(missing, self._encode(list(missing.values())), strict=True))
            for key, sight in encoded.items():
                self._cache.put(key, sight, sum(features.nbytes for features in sight))
            seen |= encoded
        other_inputs = {
            name: value for name, value in inputs.items() if name not in ("pixel_values", "pixel_attention_mask")
        }
        first, *depths = zip(*(seen[key] for key in keys), strict=True)
        return with_encoded_images(other_inputs, torch.stack(first) if self._family in _TILES else first, depths)

    def _parts(self, inputs: Mapping[str, Any]) -> Iterator[_Part]:
        """The images or tiles of a batch, in the order in which they occur in the prompts."""
        pixels = inputs.get("pixel_values")
        if pixels is None:
            return
        if self._family in _GRIDS:
            grids = inputs["image_grid_thw"]
            for picture, grid in zip(pixels.split(grids.prod(-1).tolist()), grids, strict=True):
                yield {"pixel_values": picture, "image_grid_thw": grid[None]}
        elif self._family in _PADDED:
            masks = inputs["pixel_attention_mask"].flatten(0, 1)
            for tile, mask in zip(pixels.flatten(0, 1), masks, strict=True):
                if tile.any():  # the processor pads rows with fewer images than others with zero tiles
                    yield {"pixel_values": tile[None, None], "pixel_attention_mask": mask[None, None]}
        elif self._family in _TILES:
            for tile in pixels:
                yield {"pixel_values": tile[None]}

    def _encode(self, parts: Sequence[_Part]) -> list[_Features]:
        device, dtype = self._model.device, self._model.dtype
        inputs = {name: torch.cat([part[name] for part in parts]).to(device) for name in parts[0]}
        inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
        outputs = self._model.get_image_features(**inputs, **self._layer_options(), return_dict=True)
        depths = [outputs.pooler_output, *(getattr(outputs, "deepstack_features", None) or ())]
        # A slice would keep the memory of the whole batch alive in the cache.
        return [tuple(features.clone() for features in part) for part in zip(*depths, strict=True)]

    def _layer_options(self) -> dict[str, Any]:
        names = ("vision_feature_layer", "vision_feature_select_strategy") if self._family in _TILES else ()
        return {name: getattr(self._model.config, name) for name in names}


def _key(part: _Part) -> bytes:
    digest = xxhash.xxh3_128()
    for name, value in part.items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    return digest.digest()
