"""Qwen3.5, Qwen3.6 and Qwen3.8: multimodal models with coordinates in 0..1000 and thinking that can be switched off."""

from __future__ import annotations

from dataclasses import replace

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.qwen3_vl import QWEN3_VL
from gmner.programs.models.families.resize import ResizeRule
from gmner.programs.models.families.thinking import Thinking

QWEN3_5 = ModelFamily(
    "qwen3_5",
    # With a dot, because `qwen3-8b` is a text model.
    served_as=r"qwen[-_]?3[._p][568](?![\db])",
    default_resize=QWEN3_VL.default_resize,
    resize=ResizeRule.of,
    processor=QWEN3_VL.processor,
    title="Qwen3.5 / 3.6 / 3.8",
    source="issue 4 of QwenLM/Qwen3.8-Flash-Next, answered by its makers",
    untried="Published weights have not been tried",
    thinking=Thinking(),
)
QWEN3_5_MOE = replace(QWEN3_5, name="qwen3_5_moe", served_as="", title="Qwen3.5 / 3.6 / 3.8 (MoE)")
