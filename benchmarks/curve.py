"""Plots the training curve of the embedded model from the record that is stored with its weights.

    python benchmarks/curve.py -o docs/pictures/curve.svg

Each stage has a panel with the loss (logarithmic) by optimizer step.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gmner.programs.models
from gmner.data.files.atomic import whole_text
from gmner.optimizers.curves import draw_curves


def main() -> None:
    """Write the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SVG")
    args = parser.parse_args()
    shipped = Path(gmner.programs.models.__file__).parent / "embedded"
    record = json.loads((shipped / "curve.json").read_text(encoding="utf-8"))
    curves = {
        f"{name} loss": {int(step): loss for step, loss in stage["losses"].items()}
        for name, stage in record["stages"].items()
    }
    with whole_text(args.output) as file:
        file.write(draw_curves(curves, logarithmic=True))


if __name__ == "__main__":
    main()
