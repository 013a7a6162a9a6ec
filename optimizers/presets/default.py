"""Preset `default`: `MCR()`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.optimizers.presets.definition import Preset

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR


def _build() -> MCR:
    from gmner.optimizers.mcr import MCR

    return MCR()


DEFAULT = Preset("default", "small models", _build)
