"""Families whose models write no boxes of four numbers: they are refused, unless a profile is given."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily

MOLMO2 = ModelFamily(
    "molmo2",
    served_as=r"molmo",
    title="Molmo and Molmo 2",
    refused="Its models point at things, and write no boxes",
)
PALIGEMMA = ModelFamily(
    "paligemma",
    served_as=r"pali[-_]?gemma",
    title="PaliGemma",
    refused="Its models write boxes as location tokens (y before x, 1024 steps), and do not follow instructions",
)
FLORENCE2 = ModelFamily(
    "florence2",
    served_as=r"florence[-_]?2",
    title="Florence-2",
    refused="Its models write boxes as location tokens (1000 steps), and only answer fixed prompts",
)
