"""The training curve of the embedded model as a picture, from the record beside its weights.

    python benchmarks/curve.py -o docs/pictures/curve.svg

One panel a stage: the loss (logarithmic) over the optimizer steps.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path

import gmner.programs
from gmner.data.files import whole_text

WIDTH, HEIGHT, GAP, TOP, BOTTOM = 210, 150, 44, 30, 24


def panel(name: str, losses: Mapping[str, float], left: int) -> str:
    """SVG of one stage, its left edge `left` pixels from that of the picture."""
    steps, values = [int(step) for step in losses], list(losses.values())
    low, high = math.log(min(values)) - 0.05, math.log(max(values)) + 0.05
    points = " ".join(
        f"{left + WIDTH * step / steps[-1]:.1f},{TOP + HEIGHT * (high - math.log(value)) / (high - low):.1f}"
        for step, value in zip(steps, values, strict=True)
    )
    texts = [
        (left, TOP - 10, "start", f"{name}: loss {values[0]:.2f} to {values[-1]:.2f}"),
        (left - 4, TOP + 10, "end", f"{max(values):.1f}"),
        (left - 4, TOP + HEIGHT, "end", f"{min(values):.1f}"),
        (left + WIDTH, TOP + HEIGHT + 16, "end", f"{steps[-1]:,} steps"),
    ]
    return "\n".join(
        [
            f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#b8bcc6"/>',
            f'<polyline points="{points}" fill="none" stroke="#2d5fdc" stroke-width="1.6"/>',
            *(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>' for x, y, anchor, words in texts),
        ]
    )


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SVG")
    args = parser.parse_args()
    record = json.loads((Path(gmner.programs.__file__).parent / "embedded" / "curve.json").read_text(encoding="utf-8"))
    stages = record["stages"]
    panels = [panel(name, stages[name]["losses"], GAP + i * (WIDTH + GAP)) for i, name in enumerate(stages)]
    width, height = len(stages) * (WIDTH + GAP) + GAP, TOP + HEIGHT + BOTTOM
    style = 'font-family="sans-serif" font-size="11" fill="#4a4f5c"'
    with whole_text(args.output) as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {style}>\n')
        file.write(f'<rect width="{width}" height="{height}" fill="white"/>\n')
        file.write("\n".join(panels) + "\n</svg>\n")


if __name__ == "__main__":
    main()
