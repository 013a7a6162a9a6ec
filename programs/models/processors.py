"""Image-only processors for families whose own processor requires packages for videos.

The processors of Qwen-VL, InternVL and SmolVLM require a video processor, and thereby torchvision (SmolVLM also
num2words), but posts have no videos. `ProcessorMixin` infers the parts of a processor from the signature of its
`__init__`, so a subclass without `video_processor` loads images only. Each class keeps the name of its parent: saved
checkpoints contain the class name, and servers expect that of transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoProcessor, ProcessorMixin
from transformers.models.internvl import processing_internvl as internvl
from transformers.models.qwen2_5_vl import processing_qwen2_5_vl as qwen2_5_vl
from transformers.models.qwen2_vl import processing_qwen2_vl as qwen2_vl
from transformers.models.qwen3_vl import processing_qwen3_vl as qwen3_vl
from transformers.models.smolvlm import processing_smolvlm as smolvlm


class Qwen2VLProcessor(qwen2_vl.Qwen2VLProcessor):
    """Qwen2-VL's processor without videos."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)


class Qwen2_5_VLProcessor(qwen2_5_vl.Qwen2_5_VLProcessor):  # noqa: N801 - the family's own spelling
    """Qwen2.5-VL's processor without videos."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)


class Qwen3VLProcessor(qwen3_vl.Qwen3VLProcessor):
    """Qwen3-VL's processor without videos."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)


class InternVLProcessor(internvl.InternVLProcessor):
    """InternVL's processor without videos."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_seq_length: int = 256,
        chat_template: Any = None,
        **_: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, None, image_seq_length, chat_template=chat_template)


class SmolVLMProcessor(smolvlm.SmolVLMProcessor):
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


IMAGE_ONLY: dict[str, type[ProcessorMixin]] = {
    "qwen2_vl": Qwen2VLProcessor,
    "qwen2_5_vl": Qwen2_5_VLProcessor,
    "qwen3_vl": Qwen3VLProcessor,
    "qwen3_vl_moe": Qwen3VLProcessor,
    "internvl": InternVLProcessor,
    "smolvlm": SmolVLMProcessor,
}
"""Model type -> processor class; other families use `AutoProcessor`."""


def load_processor(folder: str | Path, model_type: str) -> ProcessorMixin:
    """Load the processor of a checkpoint, image-only for the families of `IMAGE_ONLY`.

    Does not depend on whether the packages for videos are installed.

    Args:
        folder: The checkpoint's folder.
        model_type: The configuration's `model_type`.
    """
    return IMAGE_ONLY.get(model_type, AutoProcessor).from_pretrained(folder, trust_remote_code=False)
