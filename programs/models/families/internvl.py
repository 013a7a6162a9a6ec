"""InternVL: coordinates in 0..1000, images split into tiles, a processor that expects videos."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import named_as
from gmner.programs.models.families.tiles import Tiles

if TYPE_CHECKING:
    from transformers import ProcessorMixin


@cache
def _processor() -> type[ProcessorMixin]:
    from transformers.models.internvl import processing_internvl as stock

    class ImageOnly(stock.InternVLProcessor):
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

    return named_as(stock.InternVLProcessor, ImageOnly)


def _image_pixels(image_processor: Any) -> int:
    tiles = image_processor.max_patches if image_processor.crop_to_patches else 1
    return int(image_processor.size["height"] * image_processor.size["width"] * tiles)


INTERNVL = ModelFamily(
    "internvl",
    served_as=r"intern[-_]?vl[-_]?[23](?!\d)",
    image_pixels=_image_pixels,
    processor=_processor,
    image_inputs=Tiles(),
    title="InternVL2, 2.5, 3 and 3.5",
    source="internvl.readthedocs.io, section Chat Data Format",
    untried="Published weights have not been tried",
)
