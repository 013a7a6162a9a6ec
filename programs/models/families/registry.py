"""The model families, one line each; `register` adds a family from outside the package."""

from __future__ import annotations

import re

from gmner.programs.models.families import idefics3, internvl, qwen2_5_vl, qwen2_vl, qwen3_vl, smolvlm
from gmner.programs.models.families.family import ModelFamily
from gmner.signatures.registry import Registry, check_type

_BUILT_IN = (
    qwen2_vl.QWEN2_VL,
    qwen2_5_vl.QWEN2_5_VL,
    qwen3_vl.QWEN3_VL,
    qwen3_vl.QWEN3_VL_MOE,
    idefics3.IDEFICS3,
    smolvlm.SMOLVLM,
    internvl.INTERNVL,
)
FAMILIES: Registry[ModelFamily] = Registry("model family", {family.name: family for family in _BUILT_IN})
"""The families by the `model_type` of their configurations."""


def register(family: ModelFamily) -> ModelFamily:
    """Add a model family, for checkpoints with its `model_type` and for served models with its names.

    Args:
        family: The family.

    Returns:
        The family itself.

    Raises:
        InputError: Not a `ModelFamily`, a name that is not a word, or another family has this name.

    Example:
        >>> from gmner.signatures.boxes import BoxFormat
        >>> register(ModelFamily("my_vlm", BoxFormat("normalized", 100), served_as="my-?vlm")).name
        'my_vlm'
        >>> unregister("my_vlm")
    """
    check_type(family, ModelFamily)
    FAMILIES.add(family.name, family)
    return family


def unregister(name: str) -> None:
    """Remove a family that `register` added.

    Raises:
        InputError: No family with this name was registered.
    """
    FAMILIES.remove(name)


def family_of(model_type: str) -> ModelFamily:
    """The family of a checkpoint; one with the defaults of `ModelFamily` if none is registered.

    Args:
        model_type: The configuration's `model_type`.
    """
    return FAMILIES.get(model_type) or ModelFamily(model_type)


def family_served_as(model_name: str) -> ModelFamily | None:
    """The family whose names match earliest in the name of a served model; None: no family is recognised."""
    matches = [
        (match.start(), family)
        for family in FAMILIES.values()
        if family.served_as and (match := re.search(family.served_as, model_name, re.IGNORECASE))
    ]
    return min(matches, key=lambda match: match[0])[1] if matches else None
