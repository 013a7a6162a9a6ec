"""`python -m gmner.gpu`: measures the package on this machine's GPU in at most ten minutes.

    python -m gmner.gpu --model Qwen/Qwen2.5-VL-7B-Instruct
    python -m gmner.gpu --random qwen2.5-vl-7b        # the real configuration with random weights, no download
    python -m gmner.gpu --random tiny --small         # a quick trial, also on a CPU

Loads the model, probes its coordinate convention, answers photographs, compares batched generation with plain
transformers (and with vLLM if it is installed), measures the speed of scoring posts, trains a few steps of each stage
of a preset, resumes from a checkpoint, and saves and loads a bundle. Writes `gpu.json` and `gpu.md`, a table for an
issue report. The photographs are those of `gmner.real_photos`, or your own; all other posts are those of the synthetic
world with enlarged images.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gmner.optimizers.gpu_kit.convention import CONTRADICTED
from gmner.optimizers.gpu_kit.kit import CHECKS, TABLE, Kit
from gmner.optimizers.gpu_kit.photographs import photo_posts
from gmner.optimizers.gpu_kit.random_model import SHAPES, build_random
from gmner.optimizers.gpu_kit.settings import KitSettings
from gmner.signatures.errors import GmnerError


def main(words: Sequence[str] | None = None) -> int:
    """Run the measurements.

    The exit code is 0 on success, 1 if a check failed or the boxes contradict the model's profile, and 2 for invalid
    arguments.
    """
    given = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = KitSettings.in_small() if given.small else KitSettings()
    settings = replace(settings, preset=given.preset, minutes=given.minutes)
    command = "python -m gmner.gpu " + shlex.join(words if words is not None else sys.argv[1:])
    folder = given.output
    try:
        model = given.model
        if given.photos is not None:
            photo_posts(given.photos)  # before a model is built
        if given.random is not None:
            model = str(folder / given.random)
            if not (folder / given.random / "config.json").is_file():
                build_random(given.random, folder / given.random)
        kit = Kit(
            model, folder, settings, command=command, random=given.random is not None, photos=given.photos
        )  # fmt: skip
        record = kit.run(given.checks or CHECKS)
    except GmnerError as error:
        sys.stderr.write(f"gmner: {error}\n")
        return 2
    sys.stdout.write((folder / TABLE).read_text(encoding="utf-8"))
    checks = record["checks"]
    contradicted = checks.get("probe", {}).get("state") == CONTRADICTED
    return int(contradicted or any("error" in check for check in checks.values()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gmner.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", metavar="M", help="model folder or Hub id (default: the embedded model)")
    model.add_argument("--random", choices=SHAPES, help="use a model of this shape with random weights")
    parser.add_argument("--preset", default=KitSettings.preset, metavar="P", help="preset whose stages are trained")
    parser.add_argument(
        "--minutes", type=float, default=KitSettings.minutes, metavar="N", help="start no check after N minutes"
    )
    parser.add_argument("--checks", nargs="+", choices=CHECKS, metavar="C", help=f"run only these: {', '.join(CHECKS)}")
    photos = "photographs to answer; their file names are the texts (default: those of gmner.real_photos)"
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help=photos)
    parser.add_argument("--small", action="store_true", help="small batches and images, to try the kit on a CPU")
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu"), metavar="DIR", help="folder for the results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
