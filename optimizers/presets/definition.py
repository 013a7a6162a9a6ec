"""`Preset`: settings of MCR for a model and a machine, under a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings of MCR for a model and a machine.

    Attributes:
        name: The name, for `gmner.preset` and `--preset`.
        summary: What the settings are for, for `gmner compile --help`: a few words in lower case.
        build: Returns a new MCR. It imports what it needs when it is called, so that the names of presets can be listed
            without loading torch.
        stage_gb: Memory of a training stage in GB (1e9 bytes), as documented: number of samples held at once -> GB.
            None: not documented.
    """

    name: str
    summary: str
    build: Callable[[], MCR]
    stage_gb: Callable[[int], float] | None = None
