"""Qwen2-VL: coordinates in 0..1000, packed vision attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import image_only
from gmner.programs.models.families.packing import pack
from gmner.programs.models.families.patches import Patches
from gmner.programs.models.families.resize import ResizeRule

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def _processor() -> type[ProcessorMixin]:
    from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

    return image_only(Qwen2VLProcessor)


QWEN2_VL = ModelFamily(
    "qwen2_vl",
    served_as=r"qwen[-_]?2[-_]?vl(?![a-z])",
    default_resize=ResizeRule(28, 56 * 56, 28 * 28 * 16384),
    resize=ResizeRule.of,
    processor=_processor,
    prepare=pack,
    image_inputs=Patches(),
    title="Qwen2-VL",
    source="issue 1486 of QwenLM/Qwen3-VL, answered by its makers",
    untried="Published weights have not been tried",
)
