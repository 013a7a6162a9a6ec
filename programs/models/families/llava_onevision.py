"""LLaVA-OneVision, which publishes no coordinate convention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import named_as

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def processor() -> type[ProcessorMixin]:
    """`LlavaOnevisionProcessor` without videos, whose processor needs torchvision."""
    from transformers import LlavaOnevisionProcessor

    class ImageOnly(LlavaOnevisionProcessor):
        def __init__(
            self,
            image_processor: Any = None,
            tokenizer: Any = None,
            num_image_tokens: Any = None,
            vision_feature_select_strategy: Any = None,
            chat_template: Any = None,
            vision_aspect_ratio: str = "anyres_max_9",
            **_: Any,
        ) -> None:
            super().__init__(
                image_processor, tokenizer, None, num_image_tokens, vision_feature_select_strategy, chat_template,
                vision_aspect_ratio=vision_aspect_ratio,
            )  # fmt: skip

    return named_as(LlavaOnevisionProcessor, ImageOnly)


LLAVA_ONEVISION = ModelFamily(
    "llava_onevision",
    # LLaVA-OneVision-1.5 and -2 have other architectures.
    served_as=r"llava[-_]?(onevision|ov)(?![-_]?(1[._p]5|2(?![a-z\d])))",
    processor=processor,
    title="LLaVA-OneVision",
    convention="none",
    source="no statement was found",
    untried="Published weights have not been tried",
)
