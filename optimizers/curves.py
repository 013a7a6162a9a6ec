"""Curves as SVG, with one panel per figure, such as training curves with the optimizer steps on the x axis."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from gmner.data.files.atomic import whole_text

CURVES = "curves.svg"
LOGGED = {
    "reward": "reward",
    "reward_std": "reward spread in a group",
    "entropy": "entropy, nats per token",
    "completions/mean_length": "tokens per answer",
    "groups/drawn": "prompts drawn per step",
    "groups/used": "prompts with differing answers",
}
"""The figures of a GRPO training that are drawn: name in TRL's log -> title."""

Curve = Mapping[int, float]
"""Optimizer step -> value."""

COLOURS = ("#2f6fde", "#d9761d", "#1f9254", "#8a4fc9", "#b8336a", "#0f8a96")
"""Colours of the series of a panel, legible on white and on black; further series repeat them."""

_DASHES = ("", "7 3", "2 2.5", "9 3 2 3")
"""Dashes of their lines, so that they differ without colour, too."""

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 210, 130, 46, 14, 44, 34
_ACROSS, _DOWN = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
_LEGEND_LINE = 18
_TEXT = 'font-family="sans-serif" font-size="11"'
_QUOTE = {'"': "&quot;"}
_POINTS = 150
_REWARD = re.compile(r"rewards/(.+)/mean")


def draw_curves(
    panels: Mapping[str, Curve | Mapping[str, Curve]],
    *,
    logarithmic: bool = False,
    columns: int | None = None,
    axis: str = "steps",
    legend: bool = False,
) -> str:
    """Draw panels side by side as one SVG. The mouse shows place and value of each point.

    Args:
        panels: Title -> a curve, or the curves of several series by name. Empty ones are left out.
        logarithmic: Use a logarithmic y axis; values must be above 0.
        columns: Number of panels in a row. None: all of them.
        axis: What the x axis counts, in the plural.
        legend: Name the series below the panels.
    """
    drawn = _drawn(panels, logarithmic=logarithmic, axis=axis)
    across = min(columns or len(drawn), len(drawn)) or 1
    parts = [
        f'<g transform="translate({place % across * _ACROSS} {place // across * _DOWN})">{panel}</g>'
        for place, (_, panel) in enumerate(drawn)
    ]
    width, height = across * _ACROSS, _DOWN * math.ceil(len(drawn) / across)
    if legend:
        lines = _legend(panels, height)
        parts, height = [*parts, *lines], height + _LEGEND_LINE * (len(lines) + 1)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {_TEXT}'
    back = f'<rect width="{width}" height="{height}" fill="white"/>'
    style = "<style>.point{opacity:0}.point:hover{opacity:1}</style>"
    return "\n".join([f'{head} fill="#3d4350">', style, back, *parts, "</svg>\n"])


def draw_panels(panels: Mapping[str, Curve | Mapping[str, Curve]]) -> list[str]:
    """Draw each panel as an SVG of its own for a page, which arranges them and has a style for the class `point`.

    Text has the colour of the page, and there is no background.

    Args:
        panels: See `draw_curves`.
    """
    head = f'<svg viewBox="0 0 {_ACROSS} {_DOWN}" {_TEXT} fill="currentColor" role="img"'
    said = {title: "; ".join(_told(_series(panel))) for title, panel in panels.items()}
    return [f'{head} aria-label="{escape(f"{t}: {said[t]}", _QUOTE)}">{panel}</svg>' for t, panel in _drawn(panels)]


def draw_key(place: int) -> str:
    """A short line as the series at a place is drawn, for a legend."""
    return f'<svg class="key" viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4H26" {_line(place)}/></svg>'


def _legend(panels: Mapping[str, Curve | Mapping[str, Curve]], top: int) -> list[str]:
    """A line with the name of each series that any panel has, below `top`."""
    every = [_series(panel) for panel in panels.values()]
    names = list(dict.fromkeys(name for series in every for name in series))
    drawn = [name for name in names if any(series.get(name) for series in every)]
    lines = []
    for row, name in enumerate(drawn):
        y = top + _LEGEND_LINE * row + _LEGEND_LINE // 2
        stroke = f'<path d="M{_LEFT} {y}h30" {_line(names.index(name))}/>'
        lines.append(f'{stroke}<text x="{_LEFT + 38}" y="{y + 4}">{escape(name)}</text>')
    return lines


def _line(place: int) -> str:
    """The attributes of the line of the series at a place."""
    dash = _DASHES[place % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'fill="none" stroke="{_colour(place)}" stroke-width="1.6"{dashed}'


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


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


def _drawn(
    panels: Mapping[str, Curve | Mapping[str, Curve]], *, logarithmic: bool = False, axis: str = "steps"
) -> list[tuple[str, str]]:
    """Title and drawing of each panel that has a curve."""
    named = {title: _series(panel) for title, panel in panels.items()}
    names = list(dict.fromkeys(name for series in named.values() for name in series))
    filled = {t: {name: curve for name, curve in series.items() if curve} for t, series in named.items()}
    return [(title, _panel(title, series, names, logarithmic, axis)) for title, series in filled.items() if series]


def _told(series: Mapping[str, Curve]) -> list[str]:
    """The first and the last value of each series, for readers who do not see the lines."""
    return [f"{name} {_change(curve)}".strip() for name, curve in series.items() if curve]


def _series(panel: Curve | Mapping[str, Curve]) -> dict[str, Curve]:
    """The series of a panel by name; a single curve has no name."""
    named = {str(name): curve for name, curve in panel.items() if isinstance(curve, Mapping)}
    return named or {"": {int(step): value for step, value in panel.items() if not isinstance(value, Mapping)}}


def _panel(title: str, series: Mapping[str, Curve], names: Sequence[str], logarithmic: bool, axis: str) -> str:
    values = [value for curve in series.values() for value in curve.values()]
    steps = [step for curve in series.values() for step in curve]
    rows = _logarithmic_ticks(min(values), max(values)) if logarithmic else ticks(min(values), max(values))
    height = math.log if logarithmic else float
    low, high = (end(map(height, [*rows, *values])) for end in (min, max))
    first, last = min(steps), max(max(steps), min(steps) + 1)
    columns = [step for step in ticks(first, last, most=6) if first <= step <= last and step == round(step)]

    def x(step: float) -> float:
        return round(_LEFT + _WIDTH * (step - first) / (last - first), 1)

    def y(value: float) -> float:
        return round(_TOP + _HEIGHT * (1 - (height(value) - low) / max(high - low, 1e-9)), 1)

    words = [f'<text x="{_LEFT}" y="{_TOP - 26}" font-weight="600">{escape(title)}</text>']
    if len(series) == 1:
        words.append(f'<text x="{_LEFT}" y="{_TOP - 11}" fill-opacity=".8">{_change(*series.values())}</text>')
    grid = 'stroke="currentColor" stroke-opacity=".18"'
    for row in rows:
        words.append(f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y(row)}" y2="{y(row)}" {grid}/>')
        words.append(f'<text x="{_LEFT - 6}" y="{y(row) + 4:.1f}" text-anchor="end">{row:g}</text>')
    below = _TOP + _HEIGHT
    for step in columns:
        words.append(f'<line x1="{x(step)}" x2="{x(step)}" y1="{below}" y2="{below + 4}" stroke="currentColor"/>')
        words.append(f'<text x="{x(step)}" y="{below + 16}" text-anchor="middle">{step:,.0f}</text>')
    words.append(f'<text x="{_LEFT + _WIDTH}" y="{below + 29}" text-anchor="end" fill-opacity=".75">{axis}</text>')
    words.append(
        f'<path d="M{_LEFT} {_TOP}V{below}H{_LEFT + _WIDTH}" fill="none" stroke="currentColor" stroke-opacity=".5"/>'
    )
    for name, curve in series.items():
        place, points = names.index(name), [(x(step), y(value)) for step, value in curve.items()]
        line = " ".join(f"{across},{down}" for across, down in points)
        words.append(f'<polyline points="{line}" {_line(place)}/>')
        words += _points(name, curve, points, _colour(place), axis.removesuffix("s"))
    return "\n".join(words)


def _change(curve: Curve) -> str:
    """The first and the last value of a curve."""
    first, *others = curve.values()
    return f"{_short(first)} to {_short(others[-1])}" if others else _short(first)


def _points(name: str, curve: Curve, points: Sequence[tuple[float, float]], colour: str, unit: str) -> Iterable[str]:
    """Points that appear under the mouse; some of them if they are many."""
    every = math.ceil(len(points) / _POINTS)
    for (step, value), (across, down) in list(zip(curve.items(), points, strict=True))[::every]:
        what = escape(f"{f'{name}, ' if name else ''}{unit} {step:,}: {_short(value)}")
        yield f'<circle class="point" cx="{across}" cy="{down}" r="5" fill="{colour}"><title>{what}</title></circle>'


def _short(value: float) -> str:
    """A value with three significant digits, and at least two decimals below 100."""
    return f"{value:.3g}" if value and abs(value) < 0.01 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values from at most `low` to at least `high`, one, two or five times a power of ten apart.

    Args:
        low: Smallest value of an axis.
        high: Largest value of the axis.
        most: Maximum number of ticks, at least 3.
    """
    span = high - low or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(span / (most - 1)))
    for step in (size, 2 * size, 5 * size, 10 * size, 20 * size):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    return [float(f"{place * step:.10g}") for place in range(first, max(last, first + 1) + 1)]


def _logarithmic_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with their doubles and fives if those are fewer than three."""
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [factor * 10.0**ten for ten in tens for factor in (1, 2, 5)]
    inside = [tick for tick in fine if low / 2 < tick < high * 2]
    powers = [tick for tick in inside if math.log10(tick) == round(math.log10(tick))]
    return [float(f"{tick:.10g}") for tick in (powers if len(powers) > 2 else inside)]
