"""Llama 4, which publishes no coordinate convention; images are split into tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import use_without_torchvision

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def _processor() -> type[ProcessorMixin]:
    """The processor of transformers; without torchvision, with our image processor."""
    from transformers import Llama4Config
    from transformers.models.llama4.processing_llama4 import Llama4Processor

    from gmner.programs.models.families.llama4_images import Llama4ImageProcessor

    use_without_torchvision(Llama4ImageProcessor, Llama4Config)
    return Llama4Processor


LLAMA4 = ModelFamily(
    "llama4",
    served_as=r"llama[-_]?4(?![b\d])",
    processor=_processor,
    title="Llama 4",
    convention="none",
    source="no statement was found",
    untried="Published weights have not been tried",
    no_training="TRL 1.16 computes the loss with the decoder alone, and the decoder of Llama 4 gets no images",
)
