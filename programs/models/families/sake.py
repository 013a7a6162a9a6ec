"""SAKE-7B, a GMNER model trained from Qwen2.5-VL: its checkpoints load as that family."""

from __future__ import annotations

from dataclasses import replace

from gmner.programs.models.families.qwen2_5_vl import QWEN2_5_VL

SAKE = replace(
    QWEN2_5_VL,
    name="sake",
    served_as=r"(?<![a-z])sake[-_]?\d+b",
    title="SAKE",
    convention="unconfirmed",
    source="it is trained from Qwen2.5-VL (arXiv 2604.20146)",
    untried="Published weights have not been tried",
)
