"""Preset `qwen2.5-vl-7b`: Qwen2.5-VL-7B-Instruct, as in the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.optimizers.presets.definition import Preset

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR


def _build() -> MCR:
    from gmner.optimizers.cvo import CVO
    from gmner.optimizers.mcr import MCR
    from gmner.optimizers.mrsi import MRSI

    mrsi = MRSI(micro_batch=2, rate=1e-4, tuning="lora-frozen-vision")
    cvo = CVO(prompts=8, micro_batch=4, epochs=2, rate=1e-5, tuning="lora-frozen-vision")
    return MCR(mrsi=mrsi, cvo=cvo)


def _stage_gb(samples: int) -> float:
    return 17 + 1 + 2 * samples  # weights, adapter with optimizer, samples


QWEN2_5_VL_7B = Preset("qwen2.5-vl-7b", "as in the paper", _build, _stage_gb)
