"""LFM2-VL and LFM2.5-VL: decimals from 0 to 1 (LFM2.5-VL), large images split into tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.image_only import use_without_torchvision
from gmner.signatures.boxes import BoxFormat

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def _processor() -> type[ProcessorMixin]:
    """The processor of transformers; without torchvision, with our image processor."""
    from transformers import Lfm2VlConfig
    from transformers.models.lfm2_vl.processing_lfm2_vl import Lfm2VlProcessor

    from gmner.programs.models.families.lfm2_vl_images import Lfm2VlImageProcessor

    use_without_torchvision(Lfm2VlImageProcessor, Lfm2VlConfig)
    return Lfm2VlProcessor


LFM2_VL = ModelFamily(
    "lfm2_vl",
    BoxFormat(form="floats"),
    served_as=r"lfm[-_]?2([._p-]?5)?[-_]?vl",
    processor=_processor,
    title="LFM2-VL / LFM2.5-VL",
    convention="unconfirmed",
    source="reports about LFM2.5-VL, whose model card we have not checked; none about LFM2-VL",
    untried="Published weights have not been tried",
)
