"""Qwen2.5-Omni and Qwen3-Omni, of which only the thinker is used: images and text in, text out."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.resize import ResizeRule
from gmner.signatures.boxes import BoxFormat

QWEN2_5_OMNI = ModelFamily(
    "qwen2_5_omni_thinker",
    BoxFormat("resized"),
    served_as=r"qwen-?2[._p]?5[-_]?omni",
    default_resize=ResizeRule(28, 56 * 56, 28 * 28 * 16384),
    resize=ResizeRule.of,
    title="Qwen2.5-Omni",
    convention="unconfirmed",
    source="the vision encoder is that of Qwen2.5-VL; issues 236 and 392 of QwenLM/Qwen2.5-Omni are unanswered",
    untried="Published weights have not been tried",
)
QWEN3_OMNI = ModelFamily(
    "qwen3_omni_moe_thinker",
    served_as=r"qwen-?3[-_]?omni",
    resize=ResizeRule.of,
    title="Qwen3-Omni",
    convention="unconfirmed",
    source="the convention of Qwen3-VL; no statement about Qwen3-Omni was found",
    untried="Published weights have not been tried",
)
