"""`VisionFeatureCache`: keeps the vision encoder's output, so that several calls with one image encode it once.

A staged program makes several calls for a post, and an optimizer runs the same posts again. transformers accepts
encoded images as `mm_encoder_outputs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xxhash
from transformers import PreTrainedModel

from gmner.programs.engine.recent import Recent
from gmner.programs.models.families import ImageInputs, family_of
from gmner.programs.seams.transformers_seams import with_encoded_images

_CAPACITY_BYTES = 256 * 2**20
# Capacity in bytes. The features of one image can take 100 MB in a large model.

_Part = dict[str, torch.Tensor]
"""The pixels of an image, or of a tile of one, with the processor's other inputs for it."""

_Features = tuple[torch.Tensor, ...]
"""The features of a part, (tokens, hidden size): one tensor, or one for each layer that the model takes them from."""


class VisionFeatureCache:
    """Replaces pixels by cached features. Not thread-safe, and only valid while the model's weights do not change.

    Args:
        model: The model. Images are cached if its family has `image_inputs`.
        kept: Capacity in images, or in tiles for families that split an image.
    """

    def __init__(self, model: PreTrainedModel, kept: int = 32) -> None:
        self._model, self._image_inputs = model, family_of(model.config.model_type).image_inputs
        self._cache: Recent[_Features] = Recent(_CAPACITY_BYTES, kept)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the pixels in the processor's output by `mm_encoder_outputs`."""
        if self._image_inputs is None or inputs.get("pixel_values") is None:
            return dict(inputs)
        parts = list(self._image_inputs.split(inputs))
        if not parts:
            return dict(inputs)
        keys = [_key(part) for part in parts]
        seen = {key: sight for key in keys if (sight := self._cache.get(key)) is not None}
        missing = {key: part for key, part in zip(keys, parts, strict=True) if key not in seen}
        if missing:
            with torch.inference_mode():
                new_features = self._encode(self._image_inputs, list(missing.values()))
            encoded = dict(zip(missing, new_features, strict=True))
            for key, sight in encoded.items():
                self._cache.put(key, sight, sum(features.nbytes for features in sight))
            seen |= encoded
        other_inputs = {name: value for name, value in inputs.items() if name not in self._image_inputs.pixel_inputs}
        first, *depths = zip(*(seen[key] for key in keys), strict=True)
        return with_encoded_images(other_inputs, self._image_inputs.joined(first), depths)

    def _encode(self, image_inputs: ImageInputs, parts: Sequence[_Part]) -> list[_Features]:
        device, dtype = self._model.device, self._model.dtype
        inputs = {name: torch.cat([part[name] for part in parts]).to(device) for name in parts[0]}
        inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
        outputs = self._model.get_image_features(
            **inputs, **image_inputs.feature_options(self._model.config), return_dict=True
        )
        depths = [outputs.pooler_output, *(getattr(outputs, "deepstack_features", None) or ())]
        # A slice would keep the memory of the whole batch alive in the cache.
        return [tuple(features.clone() for features in part) for part in zip(*depths, strict=True)]


def _key(part: _Part) -> bytes:
    digest = xxhash.xxh3_128()
    for name, value in part.items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    return digest.digest()
