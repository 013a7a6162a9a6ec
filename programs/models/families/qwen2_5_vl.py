"""Qwen2.5-VL: coordinates in pixels of the resized image, packed vision attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import image_only
from gmner.programs.models.families.packing import pack
from gmner.programs.models.families.patches import Patches
from gmner.programs.models.families.resize import ResizeRule
from gmner.signatures.boxes import BoxFormat

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def _processor() -> type[ProcessorMixin]:
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor

    return image_only(Qwen2_5_VLProcessor)


QWEN2_5_VL = ModelFamily(
    "qwen2_5_vl",
    BoxFormat("resized"),
    served_as=r"qwen[-_]?2[._p-]?5[-_]?vl(?![a-z])",
    default_resize=ResizeRule(28, 56 * 56, 28 * 28 * 16384),
    resize=ResizeRule.of,
    processor=_processor,
    prepare=pack,
    image_inputs=Patches(),
    title="Qwen2.5-VL",
    source="issue 676 of QwenLM/Qwen3-VL, answered by its makers",
    untried="Published weights have not been tried",
)
