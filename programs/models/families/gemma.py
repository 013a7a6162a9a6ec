"""Gemma 3, without a coordinate convention, and Gemma 4, which writes y before x in 0..1000."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.thinking import Thinking
from gmner.signatures.boxes import BoxFormat

GEMMA3 = ModelFamily(
    "gemma3",
    # Not PaliGemma or MedGemma, not Gemma 3n, and not the text models of 270 million and 1 billion weights.
    served_as=r"(?<![a-z])gemma[-_]?3(?![nb\d])(?![-_:](1b|270m))",
    title="Gemma 3",
    convention="none",
    source="discussion 38 of google/gemma-3-4b-it",
    untried="Published weights have not been tried",
)
GEMMA4 = ModelFamily(
    "gemma4",
    BoxFormat(order="yxyx"),
    served_as=r"(?<![a-z])gemma[-_]?4(?![b\d])",
    model_types=("gemma4_unified",),
    title="Gemma 4",
    convention="unconfirmed",
    source="programs of users read `box_2d` as y before x in 0..1000, as Gemini writes it",
    untried="Published weights have not been tried",
    thinking=Thinking("<|channel>thought\n", "<channel|>", default=False),
)
