"""Model families: one file each, with everything that is special about a family. Importing it does not load torch."""

from __future__ import annotations

from gmner.programs.models.families.family import NORMALIZED, VISION_MODULES, ModelFamily
from gmner.programs.models.families.image_inputs import ImageInputs
from gmner.programs.models.families.lookup import (
    assumed_profile,
    check_family,
    image_pixels,
    picture_ids,
    profile_for_name,
    profile_of,
    profile_on_server,
)
from gmner.programs.models.families.padded_tiles import PaddedTiles
from gmner.programs.models.families.patches import Patches
from gmner.programs.models.families.profile import (
    PROFILE_FILE,
    Batching,
    InProcess,
    ModelProfile,
    Profiled,
    ProfileLike,
    as_profile,
    profile_data,
)
from gmner.programs.models.families.registry import (
    FAMILIES,
    family_of,
    family_served_as,
    known_family,
    register,
    unregister,
)
from gmner.programs.models.families.resize import ResizeRule
from gmner.programs.models.families.thinking import Thinking, split_thinking, thinking_in
from gmner.programs.models.families.tiles import Tiles

__all__ = [
    "FAMILIES",
    "NORMALIZED",
    "PROFILE_FILE",
    "VISION_MODULES",
    "Batching",
    "ImageInputs",
    "InProcess",
    "ModelFamily",
    "ModelProfile",
    "PaddedTiles",
    "Patches",
    "ProfileLike",
    "Profiled",
    "ResizeRule",
    "Thinking",
    "Tiles",
    "as_profile",
    "assumed_profile",
    "check_family",
    "family_of",
    "family_served_as",
    "image_pixels",
    "known_family",
    "picture_ids",
    "profile_data",
    "profile_for_name",
    "profile_of",
    "profile_on_server",
    "register",
    "split_thinking",
    "thinking_in",
    "unregister",
]
