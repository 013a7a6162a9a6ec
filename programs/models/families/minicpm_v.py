"""MiniCPM-V 4.5 and later: coordinates in 0..1000, images in slices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import named_as
from gmner.programs.models.families.thinking import Thinking

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def _image_only(stock: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """A processor of MiniCPM-V without videos, whose processor needs torchvision."""
    from transformers import ProcessorMixin

    class ImageOnly(stock):
        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any
        ) -> None:
            # Not that of the parent, which reads the settings of its video processor.
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)
            self.slice_mode, self.default_use_image_id = image_processor.slice_mode, image_processor.use_image_id
            self.image_token_divisor = 4 if image_processor.downsample_mode == "4x" else 16
            for name in ("image", "video", "image_start", "image_end", "slice_start", "slice_end", "image_id_start",
                         "image_id_end"):  # fmt: skip
                setattr(self, f"{name}_token", getattr(tokenizer, f"{name}_token"))
            self.image_token_id, self.video_token_id = tokenizer.image_token_id, tokenizer.video_token_id

    return named_as(stock, ImageOnly)


def _processor_46() -> type[ProcessorMixin]:
    from transformers.models.minicpmv4_6.processing_minicpmv4_6 import MiniCPMV4_6Processor

    return _image_only(MiniCPMV4_6Processor)


def _processor_47() -> type[ProcessorMixin]:
    from transformers.models.minicpmv4_7.processing_minicpmv4_7 import MiniCPMV4_7Processor

    return _image_only(MiniCPMV4_7Processor)


MINICPM_V = ModelFamily(
    "minicpmv4_6",
    served_as=r"minicpm[-_]?[vo][-_]?4[._p-]?[56](?!\d|[-_]?bit)",
    processor=_processor_46,
    title="MiniCPM-V 4.5 and 4.6",
    source="issue 982 of OpenBMB/MiniCPM-V, answered by its makers (about 4.5)",
    untried="Published weights have not been tried, and 4.5 itself can only be used on a server",
    no_grpo="Its processor packs all images of a batch into one tensor, which TRL 1.16 cannot split between answers",
    thinking=Thinking(default=False),
)
MINICPM_V47 = replace(
    MINICPM_V,
    name="minicpmv4_7",
    served_as=r"minicpm[-_]?[vo][-_]?4[._p-]?[7-9](?!\d|[-_]?bit)",
    processor=_processor_47,
    title="MiniCPM-V 4.7 and later",
    untried="Published weights have not been tried",
)
