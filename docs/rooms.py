"""Draws the rooms of the package and what each imports, read from the code.

python docs/rooms.py -o docs/pictures/rooms.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from html import escape
from pathlib import Path

import grimp

ROOMS = {
    "recipes": "how the embedded model is made",
    "cli": "one file per command",
    "paper": "the tables of the MCR paper",
    "app": "the page of gmner app",
    "optimizers": "MCR, MRSI, CVO: compile a program",
    "programs": "what answers posts",
    "data": "posts, predictions, files, scoring",
    "signatures": "the question and the answer, as types",
}
"""The rooms from top to bottom, and what lives there. Imports lead downwards only."""

_WIDTH, _LEFT, _RIGHT, _GAP, _LINE = 470, 10, 360, 18, 30
_CHARACTER = 9.2
_STYLE = """
  svg { background: #fff; font: 15px system-ui, sans-serif }
  .room { fill: #eef1fb; stroke: #5c6bc0 } .chip { fill: #fff; stroke: #9fa8da }
  text { fill: #1d2233 } .name { font-weight: 700; font-size: 18px } .note { fill: #525a70 }
  path { fill: none; stroke: #5c6bc0; stroke-width: 1.6 } marker path { fill: #5c6bc0; stroke: none }
  @media (prefers-color-scheme: dark) {
    svg { background: #1e2129 } .room { fill: #2a2f3f; stroke: #8c9eff } .chip { fill: #1e2129; stroke: #5c6bc0 }
    text { fill: #e8eaf2 } .note { fill: #b3b9cc } path { stroke: #8c9eff } marker path { fill: #8c9eff }
  }
"""


def subrooms(graph: grimp.ImportGraph, room: str) -> list[str]:
    """The packages directly inside of a room, by their last name."""
    children = graph.find_children(f"gmner.{room}")
    return sorted(child.rpartition(".")[2] for child in children if graph.find_children(child))


def imported_rooms(graph: grimp.ImportGraph, room: str) -> list[str]:
    """The other rooms that modules of a room import directly."""
    inside = {f"gmner.{room}", *graph.find_descendants(f"gmner.{room}")}
    imported = {name for module in inside for name in graph.find_modules_directly_imported_by(module)}
    return [
        other for other in ROOMS if other != room and any(f"{name}.".startswith(f"gmner.{other}.") for name in imported)
    ]


def chip_rows(names: Sequence[str]) -> list[list[tuple[str, float, float]]]:
    """Chips as rows of (name, x, width) that fit between the edges of a room."""
    rows: list[list[tuple[str, float, float]]] = []
    x = float(_RIGHT)
    for name in names:
        width = 22 + _CHARACTER * len(name)
        if not rows or x + width > _RIGHT - 12:
            rows.append([])
            x = _LEFT + 14.0
        rows[-1].append((name, x, width))
        x += width + 8
    return rows


def draw(graph: grimp.ImportGraph) -> str:
    """The picture as SVG."""
    parts: list[str] = []
    middles: dict[str, tuple[float, float]] = {}
    top = 14.0
    for room, note in ROOMS.items():
        rows = chip_rows(subrooms(graph, room))
        height = 62 + len(rows) * (_LINE + 6) + (6 if rows else 0)
        middles[room] = (top, height)
        dashed = ' stroke-dasharray="6 4"' if room == "recipes" else ""
        parts.append(
            f'<rect class="room" x="{_LEFT}" y="{top:g}" width="{_RIGHT - _LEFT}" height="{height}" rx="8"{dashed}/>'
            f'<text class="name" x="{_LEFT + 14}" y="{top + 27:g}">{room}/</text>'
            f'<text class="note" x="{_LEFT + 14}" y="{top + 49:g}">{escape(note)}</text>'
        )
        for number, row in enumerate(rows):
            y = top + 62 + number * (_LINE + 6)
            for name, x, width in row:
                parts.append(
                    f'<rect class="chip" x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{_LINE}" rx="15"/>'
                    f'<text x="{x + width / 2:.1f}" y="{y + 20:g}" text-anchor="middle">{name}</text>'
                )
        top += height + _GAP
    parts += arrows(graph, middles)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top:g}" role="img" '
        'aria-label="The rooms of the package from top to bottom; each arrow is an import">\n'
        f"<style>{_STYLE}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def arrows(graph: grimp.ImportGraph, places: dict[str, tuple[float, float]]) -> list[str]:
    """For each importing room a line down the right side, with an arrow into every room that it imports."""
    drawn = []
    for number, (room, (top, height)) in enumerate(places.items()):
        targets = imported_rooms(graph, room)
        if not targets:
            continue
        x = _RIGHT + 16 * (len(places) - number) + 4
        # Each importing room has a height of its own at which its arrows arrive.
        ends = [places[other][0] + 6 + 6 * number for other in targets]
        drawn.append(f'<path d="M{_RIGHT} {top + height - 8:g}H{x}V{max(ends):g}"><title>{room}</title></path>')
        drawn += [
            f'<path marker-end="url(#tip)" d="M{x} {end:g}H{_RIGHT + 2}"><title>{room} imports {other}</title></path>'
            for other, end in zip(targets, ends, strict=True)
        ]
    return drawn


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description="Draw the rooms of the package as SVG.")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    target = parser.parse_args().output
    target.write_text(draw(grimp.build_graph("gmner", cache_dir=None)), encoding="utf-8")


if __name__ == "__main__":
    main()
