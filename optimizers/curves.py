"""Training curves as one SVG, with one panel per figure and the optimizer steps on the x axis."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from gmner.data.files.atomic import whole_text

CURVES = "curves.svg"
_WIDTH, _HEIGHT, _GAP, _TOP, _BOTTOM = 210, 150, 50, 30, 24
LOGGED = {
    "reward": "reward",
    "reward_std": "reward spread in a group",
    "entropy": "entropy, nats per token",
    "completions/mean_length": "tokens per answer",
    "groups/drawn": "prompts drawn per step",
    "groups/used": "prompts with differing answers",
}
"""The figures of a GRPO training that are drawn: name in TRL's log -> title."""


_REWARD = re.compile(r"rewards/(.+)/mean")


def draw_curves(
    curves: Mapping[str, Mapping[int, float]], *, logarithmic: bool = False, columns: int | None = None
) -> str:
    """Draw curves side by side as SVG.

    Args:
        curves: Title -> optimizer step -> value. Empty curves are left out.
        logarithmic: Use a logarithmic y axis; values must be above 0.
        columns: Number of panels in a row. None: all of them.
    """
    drawn = [(title, values) for title, values in curves.items() if values]
    across, row = min(columns or len(drawn), len(drawn)) or 1, _TOP + _HEIGHT + _BOTTOM
    panels = []
    for place, (title, values) in enumerate(drawn):
        left, top = _GAP + place % across * (_WIDTH + _GAP), place // across * row
        panels.append(f'<g transform="translate(0 {top})">{_panel(title, values, left, logarithmic)}</g>')
    width, height = across * (_WIDTH + _GAP) + _GAP, row * math.ceil(len(drawn) / across)
    style = 'font-family="sans-serif" font-size="11" fill="#4a4f5c"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {style}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *panels,
        "</svg>\n",
    ]
    return "\n".join(lines)


def write_log_curves(log: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write `curves.svg`: the reward, its spread in a group, entropy and length of the samples, and each single reward.

    Args:
        log: TRL's log of a GRPO training.
        folder: Where the file goes.

    Returns:
        The path of the file. Figures that were not logged or are not finite are left out.
    """
    logged = dict.fromkeys(key for entry in log for key in entry)
    rewards = {key: f"reward {match[1]}" for key in logged if (match := _REWARD.fullmatch(key))}
    curves = {
        title: {entry["step"]: entry[key] for entry in log if entry.get(key) is not None and math.isfinite(entry[key])}
        for key, title in {**LOGGED, **rewards}.items()
    }
    path = folder / CURVES
    with whole_text(path) as file:
        file.write(draw_curves(curves, columns=len(LOGGED)))
    return path


def _panel(title: str, curve: Mapping[int, float], left: int, logarithmic: bool) -> str:
    steps, values = list(curve), list(curve.values())
    heights = [math.log(value) for value in values] if logarithmic else values
    low, span = min(heights), max(max(heights) - min(heights), 1e-9)
    first, last = steps[0], max(steps[-1], steps[0] + 1)
    points = " ".join(
        f"{left + _WIDTH * (step - first) / (last - first):.1f},{_TOP + 4 + (_HEIGHT - 8) * (1 - (h - low) / span):.1f}"
        for step, h in zip(steps, heights, strict=True)
    )
    texts = [
        (left, _TOP - 10, "start", f"{title}: {values[0]:.2f} to {values[-1]:.2f}"),
        (left - 4, _TOP + 10, "end", f"{max(values):.1f}"),
        (left - 4, _TOP + _HEIGHT, "end", f"{min(values):.1f}"),
        (left + _WIDTH, _TOP + _HEIGHT + 16, "end", f"{steps[-1]:,} steps"),
    ]
    return "\n".join(
        [
            f'<rect x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#b8bcc6"/>',
            f'<polyline points="{points}" fill="none" stroke="#2d5fdc" stroke-width="1.6"/>',
            *(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>' for x, y, anchor, words in texts),
        ]
    )
