"""Kimi-VL: decimals from 0 to 1. Its checkpoints need remote code, so it can only be used on a server."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.thinking import KIMI
from gmner.signatures.boxes import BoxFormat

KIMI_VL = ModelFamily(
    "kimi_vl",
    BoxFormat(form="floats"),
    served_as=r"kimi[-_]?vl",
    title="Kimi-VL",
    convention="unconfirmed",
    source="issues 52 and 56 of MoonshotAI/Kimi-VL, by users",
    untried="Published weights have not been tried",
    thinking=KIMI,
)
