"""Presets: settings of MCR for a model and a machine, one file each."""

from __future__ import annotations

from gmner.optimizers.presets.definition import Preset
from gmner.optimizers.presets.registry import PRESETS, preset, register, unregister

__all__ = ["PRESETS", "Preset", "preset", "register", "unregister"]
