"""Qwen3-VL and its mixture of experts: coordinates in 0..1000, packed vision attention."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import image_only
from gmner.programs.models.families.packing import pack
from gmner.programs.models.families.patches import Patches
from gmner.programs.models.families.resize import ResizeRule
from gmner.programs.models.families.thinking import Thinking

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def _processor() -> type[ProcessorMixin]:
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    return image_only(Qwen3VLProcessor)


QWEN3_VL = ModelFamily(
    "qwen3_vl",
    served_as=r"qwen[-_]?3[-_]?vl(?![a-z])(?![-_]?(embedding|reranker))",
    default_resize=ResizeRule(32, 256 * 256, 4096 * 4096),
    resize=ResizeRule.of,
    processor=_processor,
    prepare=pack,
    image_inputs=Patches(),
    title="Qwen3-VL",
    source="issues 1427 and 1486 of QwenLM/Qwen3-VL, answered by its makers",
    untried="Published weights have not been tried",
    # Only the Thinking models think; their template always opens the thoughts.
    thinking=Thinking(switch=None, default=False),
)
# Served under the same names as the dense models. No test runs its image cache.
QWEN3_VL_MOE = replace(
    QWEN3_VL,
    name="qwen3_vl_moe",
    served_as="",
    image_inputs=None,
    title="Qwen3-VL (MoE)",
)
