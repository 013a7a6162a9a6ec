"""LLaVA-OneVision, which publishes no coordinate convention."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily

LLAVA_ONEVISION = ModelFamily(
    "llava_onevision",
    # LLaVA-OneVision-1.5 and -2 have other architectures.
    served_as=r"llava[-_]?(onevision|ov)(?![-_]?(1[._p]5|2(?![a-z\d])))",
    title="LLaVA-OneVision",
    convention="none",
    source="no statement was found",
    untried="Published weights have not been tried",
)
