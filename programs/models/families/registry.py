"""The model families, one line each; `register` adds a family from outside the package."""

from __future__ import annotations

import re

from gmner.programs.models.families import (
    gemini,
    gemma,
    glm4v,
    idefics3,
    internvl,
    kimi_vl,
    lfm2_vl,
    llama4,
    llava_onevision,
    mimo_vl,
    minicpm_v,
    mistral,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_5,
    qwen3_vl,
    qwen_omni,
    refused,
    sake,
    smolvlm,
)
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
    qwen3_5.QWEN3_5,
    qwen3_5.QWEN3_5_MOE,
    qwen_omni.QWEN2_5_OMNI,
    qwen_omni.QWEN3_OMNI,
    mimo_vl.MIMO_VL,
    sake.SAKE,
    minicpm_v.MINICPM_V,
    minicpm_v.MINICPM_V47,
    glm4v.GLM4V,
    glm4v.GLM4V_MOE,
    glm4v.GLM46V,
    gemma.GEMMA3,
    gemma.GEMMA4,
    gemma.GEMMA4_UNIFIED,
    gemini.GEMINI,
    lfm2_vl.LFM2_VL,
    kimi_vl.KIMI_VL,
    mistral.MISTRAL,
    llama4.LLAMA4,
    llava_onevision.LLAVA_ONEVISION,
    refused.MOLMO2,
    refused.PALIGEMMA,
    refused.FLORENCE2,
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


def known_family(model_type: str) -> ModelFamily | None:
    """The registered family of a checkpoint; None: no family is registered for it.

    Args:
        model_type: The configuration's `model_type`.
    """
    return FAMILIES.get(model_type) or next((f for f in FAMILIES.values() if model_type in f.model_types), None)


def family_of(model_type: str) -> ModelFamily:
    """The family of a checkpoint; one with the defaults of `ModelFamily` if none is registered.

    The default may be used to load and train a model, but not to read its boxes: see `profile_of`.

    Args:
        model_type: The configuration's `model_type`.
    """
    return known_family(model_type) or ModelFamily(model_type)


def family_served_as(model_name: str) -> ModelFamily | None:
    """The family of a served model by its name; None: no family is recognised.

    A name may be a path, and there may be several names, separated by spaces. The earlier of two names counts more, and
    in a path the last folder, which names the model and not its makers. In it, the family whose name comes first
    counts: `qwen2.5-vl-7b-distilled-from-glm-4.5v` is a Qwen2.5-VL.
    """
    folders = [folder for name in model_name.split() for folder in reversed(name.split("/"))]
    return next((family for folder in folders if (family := _named_in(folder)) is not None), None)


def _named_in(folder: str) -> ModelFamily | None:
    matches = [
        (match.start(), -len(match[0]), family)
        for family in FAMILIES.values()
        if family.served_as and (match := re.search(family.served_as, folder, re.IGNORECASE))
    ]
    return min(matches, key=lambda match: match[:2])[2] if matches else None
