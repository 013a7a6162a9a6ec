"""Pixtral and the multimodal Mistral models, which publish no coordinate convention."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily

MISTRAL = ModelFamily(
    "mistral3",
    served_as=r"pixtral|(?<![a-z])mistral[-_]?small[-_]?(3[._p-]?[12](?!\d)|latest|2503|2506|24b.*-250[36])"
    r"|magistral[-_]?small[-_]?(1[._p]2|2509)|ministral[-_]?3(?!b)",
    title="Mistral Small 3.1 and later, Pixtral, Ministral 3",
    convention="none",
    source="no statement was found",
    untried="Published weights have not been tried",
)
