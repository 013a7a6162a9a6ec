"""Preset `qwen3-vl-4b`: Qwen3-VL-4B, as `qwen3-vl-8b` with twice as many samples held at once. Not tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.optimizers.presets.definition import Preset
from gmner.optimizers.presets.paper_settings import paper_settings

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR


def _build() -> MCR:
    return paper_settings(micro_batch=4)


QWEN3_VL_4B = Preset("qwen3-vl-4b", "the paper's settings, not tried", _build)
