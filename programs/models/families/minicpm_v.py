"""MiniCPM-V 4.5 and later: coordinates in 0..1000, images in slices."""

from __future__ import annotations

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.thinking import Thinking

MINICPM_V = ModelFamily(
    "minicpmv4_6",
    served_as=r"minicpm[-_]?[vo][-_]?4[._p]?[5-9](?!\d)",
    model_types=("minicpmv4_7",),
    title="MiniCPM-V 4.5 and later",
    source="issue 982 of OpenBMB/MiniCPM-V, answered by its makers (about 4.5)",
    untried="Published weights have not been tried, and 4.5 itself can only be used on a server",
    thinking=Thinking(default=False),
)
