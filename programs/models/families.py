"""Model families: their coordinate conventions and the resize rules of their processors. Does not import torch."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gmner.signatures.boxes import BoxFormat, Size
from gmner.signatures.errors import GmnerError, ImageError, InputError, ModelError

PROFILE_FILE = "gmner.json"
"""An optional file in a model's folder: `{"box_format": {"frame", "scale"}, "terse": bool}` overrides the family."""

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


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """The properties of a model that its prompts depend on.

    Attributes:
        box_format: The coordinate convention of the model.
        terse: Whether the model was trained on the short prompt wording (the embedded model was).
        rule: How the processor resizes an image; None: not known. The `normalized` convention does not need it.
    """

    box_format: BoxFormat = BoxFormat()  # noqa: RUF009 - frozen
    terse: bool = False
    rule: ResizeRule | None = None

    def resized(self, size: Size) -> Size | None:
        """(width, height) after the processor's own resize of an image of `size` pixels; None: not known."""
        return None if self.rule is None else self.rule(size)


@runtime_checkable
class Profiled(Protocol):
    """An engine with the profile of its model."""

    profile: ModelProfile


@runtime_checkable
class Batching(Profiled, Protocol):
    """An engine that batches up to `max_batch` requests."""

    max_batch: int


@runtime_checkable
class InProcess(Profiled, Protocol):
    """An engine in this process: images are passed by reference, see `gmner.programs.prompt_images.named`.

    Attributes:
        image_pixels: Largest number of pixels after the processor's resize; None: not known.
    """

    image_pixels: int | None


_RESIZED = BoxFormat("resized")
_NORMALIZED = BoxFormat("normalized", 1000)
_FRAMES = {"qwen2_5_vl": _RESIZED}
# The defaults of the published checkpoints. A server started with other pixel limits needs its own profile.
_DEFAULT_RULES = {
    "qwen2_vl": ResizeRule(28, 56 * 56, 28 * 28 * 16384),
    "qwen2_5_vl": ResizeRule(28, 56 * 56, 28 * 28 * 16384),
    "qwen3_vl": ResizeRule(32, 256 * 256, 4096 * 4096),
}
_NAMES = re.compile(r"qwen-?(2\.5|25|2_5|2|3)[-_]?vl", re.IGNORECASE)


def profile_of(model_type: str, processor: Any, folder: Path | None = None) -> ModelProfile:
    """The profile of a loaded checkpoint.

    Args:
        model_type: The configuration's `model_type`.
        processor: The checkpoint's processor; its pixel limits give the resize rule.
        folder: The checkpoint's folder, which may contain `gmner.json`.

    Raises:
        ModelError: `gmner.json` is not a valid profile.
    """
    family = model_type.removesuffix("_moe")
    rule = _rule_of(processor.image_processor) if family in _DEFAULT_RULES else None
    profile = ModelProfile(_FRAMES.get(family, _NORMALIZED), rule=rule)
    file = None if folder is None else folder / PROFILE_FILE
    return profile if file is None or not file.is_file() else _overridden(profile, file)


def image_pixels(model_type: str, image_processor: Any) -> int | None:
    """Largest number of pixels after a processor's resize, without the thumbnail of tiling processors.

    None if it is not known.

    Args:
        model_type: The configuration's `model_type`.
        image_processor: The checkpoint's image processor.
    """
    family = model_type.removesuffix("_moe")
    if family in _DEFAULT_RULES:
        return _rule_of(image_processor).max_pixels
    if family in ("idefics3", "smolvlm"):
        return int(image_processor.size["longest_edge"]) ** 2
    if family == "internvl":
        tiles = image_processor.max_patches if image_processor.crop_to_patches else 1
        return int(image_processor.size["height"] * image_processor.size["width"] * tiles)
    return None


def _rule_of(image_processor: Any) -> ResizeRule:
    size = image_processor.size
    factor = image_processor.patch_size * image_processor.merge_size
    return ResizeRule(factor, size["shortest_edge"], size["longest_edge"])


def _overridden(profile: ModelProfile, file: Path) -> ModelProfile:
    accepted = '{"box_format": {"frame": "normalized", "scale": 1000}, "terse": false}'
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        box = {"frame": profile.box_format.frame, "scale": profile.box_format.scale, **given.get("box_format", {})}
        box_format, terse = BoxFormat(**box), given.get("terse", profile.terse)
    except (ValueError, TypeError, AttributeError, RecursionError, OSError, GmnerError) as error:
        raise ModelError(f"{file} is not a valid profile", received=str(error), accepted=accepted) from error
    if type(terse) is not bool:
        raise ModelError(f"{file} is not a valid profile", received=given, accepted=accepted)
    return ModelProfile(box_format, terse, profile.rule)


def profile_for_name(model_name: str) -> ModelProfile:
    """Infer the profile of a served model from its name, for example `openai/Qwen/Qwen2.5-VL-7B-Instruct`.

    The resize rule is the family's default. Unknown families get coordinates in 0..1000.
    """
    version = _NAMES.search(model_name)
    if version is None:
        return ModelProfile(_NORMALIZED)
    family = {"2": "qwen2_vl", "3": "qwen3_vl"}.get(version[1], "qwen2_5_vl")
    return ModelProfile(_FRAMES.get(family, _NORMALIZED), rule=_DEFAULT_RULES[family])


def profile_on_server(model_name: str, weights: ModelProfile) -> ModelProfile:
    """The profile of known weights that are served under a name.

    This is their own profile, unless the name implies another coordinate convention.

    Args:
        model_name: The name on the server, for example `openai/my-model`.
        weights: The profile of the weights as loaded on this machine, with their pixel limits.
    """
    named = profile_for_name(model_name)
    return named if _NAMES.search(model_name) and named.box_format != weights.box_format else weights


def picture_ids(config: Any) -> list[int]:
    """Token ids that stand for images and videos in a prompt. An answer with one of them would break the model."""
    ids = (getattr(config, name, None) for name in ("image_token_id", "image_token_index", "video_token_id"))
    return sorted({token for token in ids if isinstance(token, int)})
