"""Gemma 3, without a coordinate convention, and Gemma 4, which writes y before x in 0..1000."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.thinking import GEMMA
from gmner.signatures.boxes import BoxFormat

if TYPE_CHECKING:
    from transformers import ProcessorMixin


@cache
def _processor() -> type[ProcessorMixin]:
    """The processor of Gemma 4 for images only; that of transformers needs torchvision for videos."""
    from transformers import ProcessorMixin
    from transformers.models.gemma4.processing_gemma4 import Gemma4Processor

    from gmner.programs.models.families.image_only import named_as

    class ImageOnly(Gemma4Processor):
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

    return named_as(Gemma4Processor, ImageOnly)


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
    processor=_processor,
    title="Gemma 4",
    convention="unconfirmed",
    source="programs of users read `box_2d` as y before x in 0..1000, as Gemini writes it",
    untried="Published weights have not been tried",
    thinking=GEMMA,
)
