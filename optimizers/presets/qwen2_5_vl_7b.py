"""Preset `qwen2.5-vl-7b`: Qwen2.5-VL-7B-Instruct, as in the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.optimizers.presets.definition import Preset
from gmner.optimizers.presets.paper_settings import paper_settings

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR


def _build() -> MCR:
    return paper_settings()


def _stage_gb(samples: int) -> float:
    return 17 + 1 + 2 * samples  # weights, adapter with optimizer, samples


QWEN2_5_VL_7B = Preset("qwen2.5-vl-7b", "as in the paper", _build, _stage_gb)
