"""The profile of a model: of a loaded checkpoint, or inferred from the name of a served model."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.profile import ModelProfile, ProfileLike, as_profile, stored_profile
from gmner.programs.models.families.registry import FAMILIES, family_of, family_served_as, known_family
from gmner.programs.models.families.resize import ResizeRule
from gmner.signatures.errors import ModelError

_LOG = logging.getLogger(__name__)
_KNOWN = (
    "If you know the convention, pass it as profile=gmner.families.ModelProfile(gmner.BoxFormat(...)){place}, or as "
    '--profile FILE on the command line; otherwise run `gmner probe {model} --write`, or pass profile="probe"'
)
_BOTH_WAYS = _KNOWN.format(place=", as gmner.json in the folder of the model", model="MODEL")
_BOTH_WAYS_ON_SERVER = _KNOWN.format(place="", model="--server URL")


def profile_of(
    model_type: str, processor: Any, folder: Path | None = None, given: ProfileLike | None = None
) -> ModelProfile:
    """The profile of a loaded checkpoint: the given one, that of `gmner.json` in its folder, or that of its family.

    Args:
        model_type: The configuration's `model_type`.
        processor: The checkpoint's processor; its pixel limits give the resize rule.
        folder: The checkpoint's folder, which may contain `gmner.json`.
        given: The profile that the user passed, see `as_profile`.

    Raises:
        ModelError: The family is unknown or refused and there is no profile, a profile is not valid, or the frame is
            `resized` and the resize rule is not known.
    """
    family = known_family(model_type)
    rule = None if family is None or family.resize is None else family.resize(processor.image_processor)
    base = None if family is None or family.refused else _own(family, rule)
    profile = None
    if given is not None:
        profile = as_profile(given, base)
    elif folder is not None:
        profile = stored_profile(folder, base)
    return _checked(_of_family(family, rule, model_type, _BOTH_WAYS) if profile is None else profile, model_type)


def image_pixels(model_type: str, image_processor: Any) -> int | None:
    """Largest number of pixels after a processor's resize, without the thumbnail of tiling processors.

    None if it is not known.

    Args:
        model_type: The configuration's `model_type`.
        image_processor: The checkpoint's image processor.
    """
    return family_of(model_type).largest_image(image_processor)


def profile_for_name(model_name: str, given: ProfileLike | None = None) -> ModelProfile:
    """Infer the profile of a served model from its name, for example `openai/Qwen/Qwen2.5-VL-7B-Instruct`.

    The resize rule is that of the published checkpoints; a server that was started with other pixel limits needs its
    own profile.

    Args:
        model_name: The name on the server, or several names; see `family_served_as`.
        given: The profile that the user passed, see `as_profile`.

    Raises:
        ModelError: The family is unknown or refused and no profile was given, the profile is not valid, or the frame is
            `resized` and the resize rule is not known.
    """
    family = family_served_as(model_name)
    rule = None if family is None else family.default_resize
    base = None if family is None or family.refused else _own(family, rule)
    if given is None:
        profile = _of_family(family, rule, model_name, _BOTH_WAYS_ON_SERVER)
    else:
        profile = as_profile(given, base)
    return _checked(profile, model_name)


def assumed_profile(name: str) -> ModelProfile:
    """The profile of an LM that neither has one nor is on a server: coordinates in 0..1000. A warning says so once.

    Args:
        name: The name of the model.
    """
    _notify(
        f"The coordinate convention of the LM {name} is not known: its boxes are read as 0..1000, x1 y1 x2 y2. "
        "Pass its convention to the program: profile=gmner.families.ModelProfile(gmner.BoxFormat(...))"
    )
    return ModelProfile()


def profile_on_server(model_name: str, weights: ModelProfile) -> ModelProfile:
    """The profile of known weights that are served under a name.

    This is their own profile, unless the name implies another coordinate convention.

    Args:
        model_name: The name on the server, for example `openai/my-model`.
        weights: The profile of the weights as loaded on this machine, with their pixel limits.
    """
    family = family_served_as(model_name)
    known = family is not None and not family.refused and family.box_format != weights.box_format
    return profile_for_name(model_name) if known else weights


def check_family(model_type: str, folder: Path, given: ProfileLike | None = None) -> None:
    """Refuse a checkpoint whose family is unknown or refused and that has no profile, before anything is loaded.

    Args:
        model_type: The configuration's `model_type`.
        folder: The checkpoint's folder, which may contain `gmner.json`.
        given: The profile that the user passed.

    Raises:
        ModelError: The family is unknown or refused and there is no profile, or the profile is not valid.
    """
    family = known_family(model_type)
    base = None if family is None or family.refused else _own(family, None)
    if given is not None:
        as_profile(given, base)
    elif stored_profile(folder, base) is None:
        _supported(family, model_type, _BOTH_WAYS)


def _own(family: ModelFamily, rule: ResizeRule | None) -> ModelProfile:
    """The profile that the models of a family have if nobody says otherwise."""
    return ModelProfile(family.box_format, rule=rule, max_pictures=family.max_pictures)


def _of_family(family: ModelFamily | None, rule: ResizeRule | None, name: str, remedy: str) -> ModelProfile:
    """The profile of a family, after its notice; an unknown or refused family raises `ModelError`."""
    supported = _supported(family, name, remedy)
    if notice := supported.notice():
        _notify(notice)
    return _own(supported, rule)


def _supported(family: ModelFamily | None, name: str, remedy: str) -> ModelFamily:
    if family is None:
        raise ModelError(
            "The family of the model is unknown, so its coordinate convention is not known either",
            received=name,
            accepted="; ".join(family.shown_as for family in FAMILIES.values() if not family.refused),
            remedy=remedy,
        )
    if family.refused:
        raise ModelError(f"{family.shown_as} is not supported. {family.refused}", received=name, remedy=remedy)
    return family


@cache
def _notify(notice: str) -> None:
    """Log a notice once in a process."""
    _LOG.warning(notice)


def _checked(profile: ModelProfile, name: str) -> ModelProfile:
    if profile.box_format.frame == "resized" and profile.rule is None:
        raise ModelError(
            "The frame `resized` needs the resize rule of the model's processor, which is not known",
            received=name,
            remedy='Add "resize": {"factor": ..., "min_pixels": ..., "max_pixels": ...} to the profile',
        )
    return profile


def picture_ids(config: Any) -> list[int]:
    """Token ids that stand for images and videos in a prompt. An answer with one of them would break the model."""
    ids = (getattr(config, name, None) for name in ("image_token_id", "image_token_index", "video_token_id"))
    return sorted({token for token in ids if isinstance(token, int)})
