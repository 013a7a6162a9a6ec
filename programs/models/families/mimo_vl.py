"""MiMo-VL, which has the architecture of Qwen2.5-VL: its checkpoints load as that family."""

from __future__ import annotations

from dataclasses import replace

from gmner.programs.models.families.qwen2_5_vl import QWEN2_5_VL
from gmner.programs.models.families.thinking import Thinking

MIMO_VL = replace(
    QWEN2_5_VL,
    name="mimo_vl",
    served_as=r"mimo[-_]?vl",
    title="MiMo-VL",
    convention="unconfirmed",
    source="its checkpoints are Qwen2.5-VL models; harpreetsahota204/MiMo_VL reads pixels",
    untried="Published weights have not been tried",
    # A user message that ends with /no_think switches thinking off; the chat template has no argument for it.
    thinking=Thinking(switch=None),
)
