"""Preset `mimo-vl-7b`: MiMo-VL-7B, as in the paper, with 5 epochs of MRSI. Not tried with these weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.optimizers.presets.definition import Preset
from gmner.optimizers.presets.paper_settings import paper_settings

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR


def _build() -> MCR:
    return paper_settings(mrsi_epochs=5)


MIMO_VL_7B = Preset("mimo-vl-7b", "the paper's second model", _build)
