"""Qwen2.5-Omni and Qwen3-Omni, of which only the thinker is loaded: images and text in, text out."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import named_as
from gmner.programs.models.families.resize import ResizeRule
from gmner.signatures.boxes import BoxFormat

if TYPE_CHECKING:
    from transformers import ProcessorMixin


@cache
def _image_only(stock: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """A processor of the thinkers without videos, whose processor needs torchvision, and without audio."""
    from transformers import ProcessorMixin

    class ImageOnly(stock):
        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any
        ) -> None:
            # Not that of the parent, which passes on its video processor and its feature extractor.
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)
            for name in ("image_token", "audio_token", "video_token", "vision_bos_token", "vision_eos_token",
                         "audio_bos_token", "audio_eos_token"):  # fmt: skip
                setattr(self, name, getattr(tokenizer, name))
            for name in ("image_token_id", "audio_token_id", "video_token_id"):
                setattr(self, name, getattr(tokenizer, name))

        @property
        def model_input_names(self) -> list[str]:
            return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]

        def apply_chat_template(self, conversation: Any, chat_template: str | None = None, **kwargs: Any) -> Any:
            """Render a chat; Qwen3-Omni calls the first argument `conversations`, which TRL does not know."""
            return ProcessorMixin.apply_chat_template(self, conversation, chat_template, **kwargs)

    return named_as(stock, ImageOnly)


def _processor_25() -> type[ProcessorMixin]:
    from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessor

    return _image_only(Qwen2_5OmniProcessor)


def _processor_3() -> type[ProcessorMixin]:
    from transformers.models.qwen3_omni_moe.processing_qwen3_omni_moe import Qwen3OmniMoeProcessor

    return _image_only(Qwen3OmniMoeProcessor)


_TOWERS = r".*(visual|audio_tower).*"

QWEN2_5_OMNI = ModelFamily(
    "qwen2_5_omni_thinker",
    BoxFormat("resized"),
    served_as=r"qwen[-_]?2[._p-]?5[-_]?omni",
    default_resize=ResizeRule(28, 56 * 56, 28 * 28 * 16384),
    resize=ResizeRule.of,
    processor=_processor_25,
    vision_modules=_TOWERS,
    title="Qwen2.5-Omni",
    convention="unconfirmed",
    source="the vision encoder is that of Qwen2.5-VL; issues 236 and 392 of QwenLM/Qwen2.5-Omni are unanswered",
    untried="Published weights have not been tried",
)
QWEN3_OMNI = ModelFamily(
    "qwen3_omni_moe_thinker",
    served_as=r"qwen[-_]?3[-_]?omni",
    resize=ResizeRule.of,
    processor=_processor_3,
    vision_modules=_TOWERS,
    title="Qwen3-Omni",
    convention="unconfirmed",
    source="the convention of Qwen3-VL; no statement about Qwen3-Omni was found",
    untried="Published weights have not been tried",
)
