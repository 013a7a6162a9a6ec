"""Llama 4, which publishes no coordinate convention. The image processor needs torchvision."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily

LLAMA4 = ModelFamily(
    "llama4",
    served_as=r"llama[-_]?4(?![b\d])",
    title="Llama 4",
    convention="none",
    source="no statement was found",
    untried="Published weights have not been tried, and the image processor needs torchvision",
)
