"""The profile of a model: of a loaded checkpoint, or inferred from the name of a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gmner.programs.models.families.family import NORMALIZED
from gmner.programs.models.families.profile import ModelProfile, overridden
from gmner.programs.models.families.registry import family_of, family_served_as


def profile_of(model_type: str, processor: Any, folder: Path | None = None) -> ModelProfile:
    """The profile of a loaded checkpoint.

    Args:
        model_type: The configuration's `model_type`.
        processor: The checkpoint's processor; its pixel limits give the resize rule.
        folder: The checkpoint's folder, which may contain `gmner.json`.

    Raises:
        ModelError: `gmner.json` is not a valid profile.
    """
    family = family_of(model_type)
    rule = None if family.resize is None else family.resize(processor.image_processor)
    profile = ModelProfile(family.box_format, rule=rule, max_pictures=family.max_pictures)
    return profile if folder is None else overridden(profile, folder)


def image_pixels(model_type: str, image_processor: Any) -> int | None:
    """Largest number of pixels after a processor's resize, without the thumbnail of tiling processors.

    None if it is not known.

    Args:
        model_type: The configuration's `model_type`.
        image_processor: The checkpoint's image processor.
    """
    return family_of(model_type).largest_image(image_processor)


def profile_for_name(model_name: str) -> ModelProfile:
    """Infer the profile of a served model from its name, for example `openai/Qwen/Qwen2.5-VL-7B-Instruct`.

    The resize rule is that of the published checkpoints; a server that was started with other pixel limits needs its
    own profile. Unknown families get coordinates in 0..1000.
    """
    family = family_served_as(model_name)
    if family is None:
        return ModelProfile(NORMALIZED)
    return ModelProfile(family.box_format, rule=family.default_resize, max_pictures=family.max_pictures)


def profile_on_server(model_name: str, weights: ModelProfile) -> ModelProfile:
    """The profile of known weights that are served under a name.

    This is their own profile, unless the name implies another coordinate convention.

    Args:
        model_name: The name on the server, for example `openai/my-model`.
        weights: The profile of the weights as loaded on this machine, with their pixel limits.
    """
    named = profile_for_name(model_name)
    known = family_served_as(model_name) is not None
    return named if known and named.box_format != weights.box_format else weights


def picture_ids(config: Any) -> list[int]:
    """Token ids that stand for images and videos in a prompt. An answer with one of them would break the model."""
    ids = (getattr(config, name, None) for name in ("image_token_id", "image_token_index", "video_token_id"))
    return sorted({token for token in ids if isinstance(token, int)})
