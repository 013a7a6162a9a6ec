"""Gemma 3, without a coordinate convention, and Gemma 4, which writes y before x in 0..1000."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import named_as, use_without_torchvision
from gmner.programs.models.families.thinking import GEMMA
from gmner.signatures.boxes import BoxFormat

if TYPE_CHECKING:
    from transformers import ProcessorMixin


@cache
def _image_only(stock: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """A processor of Gemma 4 for images only; those of transformers need torchvision for videos."""
    from transformers import ProcessorMixin

    class ImageOnly(stock):
        def __init__(
            self,
            image_processor: Any = None,
            tokenizer: Any = None,
            chat_template: Any = None,
            image_seq_length: int = 280,
            **_: Any,
        ) -> None:
            # Not that of the parent, which passes on its video processor by name.
            self.image_seq_length = image_seq_length
            for name in ("image", "audio", "video"):
                setattr(self, f"{name}_token", getattr(tokenizer, f"{name}_token", f"<|{name}|>"))
                token = tokenizer.convert_tokens_to_ids(getattr(self, f"{name}_token"))
                setattr(self, f"{name}_token_id", token)
            for name in ("boi_token", "eoi_token", "boa_token", "eoa_token"):
                setattr(self, name, getattr(tokenizer, name, None))
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    return named_as(stock, ImageOnly)


def _processor() -> type[ProcessorMixin]:
    from transformers.models.gemma4.processing_gemma4 import Gemma4Processor

    return _image_only(Gemma4Processor)


def _unified_processor() -> type[ProcessorMixin]:
    from transformers import Gemma4UnifiedConfig
    from transformers.models.gemma4_unified.processing_gemma4_unified import Gemma4UnifiedProcessor

    from gmner.programs.models.families.gemma4_unified_images import Gemma4UnifiedImageProcessor

    use_without_torchvision(Gemma4UnifiedImageProcessor, Gemma4UnifiedConfig)
    return _image_only(Gemma4UnifiedProcessor)


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
    processor=_processor,
    vision_modules=r".*(vision|audio).*",
    title="Gemma 4",
    convention="unconfirmed",
    source="third-party programs read `box_2d` as y before x in 0..1000, as Gemini writes it",
    untried="Published weights have not been tried",
    thinking=GEMMA,
)
# Gemma 4 12B, which is served under the same names: patches go to the decoder without a vision encoder.
GEMMA4_UNIFIED = replace(
    GEMMA4, name="gemma4_unified", served_as="", processor=_unified_processor, title="Gemma 4 (12B)"
)
