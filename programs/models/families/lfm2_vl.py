"""LFM2-VL and LFM2.5-VL: decimals from 0 to 1 (LFM2.5-VL). The image processor needs torchvision."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily
from gmner.signatures.boxes import BoxFormat

LFM2_VL = ModelFamily(
    "lfm2_vl",
    BoxFormat(form="floats"),
    served_as=r"lfm-?2([._p]?5)?[-_]?vl",
    title="LFM2-VL / LFM2.5-VL",
    convention="unconfirmed",
    source="LFM2.5-VL is trained to write boxes, but the card could not be read here; LFM2-VL publishes nothing",
    untried="Published weights have not been tried, and the image processor needs torchvision",
)
