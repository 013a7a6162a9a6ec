"""SmolVLM: coordinates in 0..1000, images split into padded tiles, a processor that expects videos."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.idefics3 import longest_edge_pixels
from gmner.programs.models.families.image_only import named_as
from gmner.programs.models.families.padded_tiles import PaddedTiles

if TYPE_CHECKING:
    from transformers import ProcessorMixin


@cache
def _processor() -> type[ProcessorMixin]:
    from transformers import ProcessorMixin
    from transformers.models.smolvlm import processing_smolvlm as stock

    class ImageOnly(stock.SmolVLMProcessor):
        """SmolVLM's processor without videos, and so without num2words."""

        def __init__(
            self,
            image_processor: Any = None,
            tokenizer: Any = None,
            image_seq_len: int = 169,
            chat_template: Any = None,
            **_: Any,
        ) -> None:
            # The stock __init__ refuses to run without num2words, which only words the number of frames of a video.
            self.fake_image_token = getattr(tokenizer, "fake_image_token", "<fake_token_around_image>")
            self.image_token = getattr(tokenizer, "image_token", "<image>")
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.end_of_utterance_token = getattr(tokenizer, "end_of_utterance_token", "<end_of_utterance>")
            self.global_image_token = getattr(tokenizer, "global_image_token", "<global-img>")
            self.image_seq_len = image_seq_len
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

        def apply_chat_template(self, conversation: Any, chat_template: str | None = None, **kwargs: Any) -> Any:
            """Render a chat; the stock method reads the number of frames from the video processor first."""
            return ProcessorMixin.apply_chat_template(self, conversation, chat_template, **kwargs)

    return named_as(stock.SmolVLMProcessor, ImageOnly)


SMOLVLM = ModelFamily(
    "smolvlm",
    served_as=r"smol[-_]?vlm",
    image_pixels=longest_edge_pixels,
    processor=_processor,
    image_inputs=PaddedTiles(),
    title="SmolVLM",
    convention="none",
    source="no statement was found",
)
