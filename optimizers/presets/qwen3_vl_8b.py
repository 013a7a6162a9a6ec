"""Preset `qwen3-vl-8b`: Qwen3-VL-8B with the settings of the paper for Qwen2.5-VL-7B. Not tried with these weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.optimizers.presets.definition import Preset
from gmner.optimizers.presets.paper_settings import paper_settings

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR


def _build() -> MCR:
    return paper_settings()


QWEN3_VL_8B = Preset("qwen3-vl-8b", "the paper's settings, not tried", _build)
