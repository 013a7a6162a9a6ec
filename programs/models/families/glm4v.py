"""GLM-4.1V, GLM-4.5V and GLM-4.6V: coordinates in 0..1000, thinking that can be switched off."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import image_only
from gmner.programs.models.families.thinking import Thinking

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def _processor() -> type[ProcessorMixin]:
    from transformers.models.glm4v.processing_glm4v import Glm4vProcessor

    return image_only(Glm4vProcessor)


def _processor_46() -> type[ProcessorMixin]:
    from transformers.models.glm46v.processing_glm46v import Glm46VProcessor

    return image_only(Glm46VProcessor)


GLM4V = ModelFamily(
    "glm4v",
    served_as=r"glm[-_]?4[._p-]?1v(?![a-z])",
    processor=_processor,
    title="GLM-4.1V",
    source="README of zai-org/GLM-V, section Grounding",
    untried="Published weights have not been tried",
    # The template of GLM-4.1V-Thinking always opens the thoughts.
    thinking=Thinking(switch=None),
)
GLM4V_MOE = replace(
    GLM4V, name="glm4v_moe", served_as=r"glm[-_]?4[._p-]?5v(?![a-z])", title="GLM-4.5V", thinking=Thinking()
)
GLM46V = replace(
    GLM4V_MOE,
    name="glm46v",
    served_as=r"glm[-_]?4[._p-]?6v(?![a-z])",
    title="GLM-4.6V",
    processor=_processor_46,
)
