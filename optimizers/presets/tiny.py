"""Preset `tiny`: the embedded model on two cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.optimizers.presets.definition import Preset

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR


def _build() -> MCR:
    from gmner.optimizers.cvo import CVO
    from gmner.optimizers.mcr import MCR
    from gmner.optimizers.mrsi import MRSI

    mrsi = MRSI(max_steps=80, batch=16, rate=1e-3)
    cvo = CVO(max_steps=8, rate=5e-4, redraws=0, max_completion_length=256, validate_every=None)
    return MCR(mrsi=mrsi, cvo=cvo, d1_share=0.5, holdout=0)


TINY = Preset("tiny", "embedded model, minutes", _build)
