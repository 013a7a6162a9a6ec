"""Gemini, which is only served by Google: y before x in 0..1000."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily
from gmner.signatures.boxes import BoxFormat

GEMINI = ModelFamily(
    "gemini",
    BoxFormat(order="yxyx"),
    served_as=r"(?<![a-z])gemini[-_]?([2-9]|(flash|pro)([-_]lite)?[-_]latest)",
    title="Gemini 2.0 and later",
    source="cloud.google.com/vertex-ai/generative-ai/docs/bounding-box-detection",
    untried="The service has not been tried",
)
