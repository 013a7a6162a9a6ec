"""What a model's vision part makes of pictures, kept for a while: calls about the same picture encode it once.

A staged program asks several times about a post, an optimizer about the same posts again. transformers takes pictures
that are encoded already, as `mm_encoder_outputs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import xxhash
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from gmner.programs.engine.recent import Recent

_GRIDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_PADDED = ("idefics3", "smolvlm")
_TILES = ("internvl",)

_KEPT = 256 * 2**20
# Bytes of encoded pictures that are kept; one of a large model can take 100 MB.

_Part = dict[str, torch.Tensor]
"""A picture, or a tile of one, as the processor made it."""

_Sight = tuple[torch.Tensor, ...]
"""The features of a part, (tokens, size); for models that look at several depths, those of each."""


class VisionFeatureCache:
    """The pictures that a model has looked at lately; for one thread at a time, and while its weights stay as they are.

    Args:
        model: The model; of a family that is not known here, pictures are encoded each time.
        kept: Most pictures, or tiles of pictures, that are kept.
    """

    def __init__(self, model: PreTrainedModel, kept: int = 32) -> None:
        self._model, self._family = model, model.config.model_type
        self._known: Recent[_Sight] = Recent(_KEPT, kept)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs of `generate` as a processor makes them -> the same, with the pictures encoded."""
        parts = list(self._parts(inputs))
        if not parts:
            return dict(inputs)
        keys = [_key(part) for part in parts]
        seen = {key: sight for key in keys if (sight := self._known.get(key)) is not None}
        wanted = {key: part for key, part in zip(keys, parts, strict=True) if key not in seen}
        if wanted:
            with torch.inference_mode():
                found = dict(zip(wanted, self._look(list(wanted.values())), strict=True))
            for key, sight in found.items():
                self._known.put(key, sight, sum(features.nbytes for features in sight))
            seen |= found
        left = {name: value for name, value in inputs.items() if name not in ("pixel_values", "pixel_attention_mask")}
        return {**left, "mm_encoder_outputs": {"image": self._output([seen[key] for key in keys])}}

    def _parts(self, inputs: Mapping[str, Any]) -> Iterator[_Part]:
        """The pictures of a batch in the order in which its prompts name them, tile by tile."""
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
                if tile.any():  # a row with fewer pictures than others is filled up with zeros
                    yield {"pixel_values": tile[None, None], "pixel_attention_mask": mask[None, None]}
        elif self._family in _TILES:
            for tile in pixels:
                yield {"pixel_values": tile[None]}

    def _look(self, parts: Sequence[_Part]) -> list[_Sight]:
        device, dtype = self._model.device, self._model.dtype
        inputs = {name: torch.cat([part[name] for part in parts]).to(device) for name in parts[0]}
        inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
        found = self._model.get_image_features(**inputs, **self._layer(), return_dict=True)
        depths = [found.pooler_output, *(getattr(found, "deepstack_features", None) or ())]
        # Copies, as a part of a tensor would keep the whole of it.
        return [tuple(features.clone() for features in part) for part in zip(*depths, strict=True)]

    def _layer(self) -> dict[str, Any]:
        names = ("vision_feature_layer", "vision_feature_select_strategy") if self._family in _TILES else ()
        return {name: getattr(self._model.config, name) for name in names}

    def _output(self, seen: Sequence[_Sight]) -> BaseModelOutputWithPooling:
        first, *depths = zip(*seen, strict=True)
        output = BaseModelOutputWithPooling(pooler_output=torch.stack(first) if self._family in _TILES else first)
        if depths:
            output["deepstack_features"] = depths
        return output


def _key(part: _Part) -> bytes:
    digest = xxhash.xxh3_128()
    for name, value in part.items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    return digest.digest()
