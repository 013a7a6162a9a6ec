"""`gmner quickstart`: see `gmner.optimizers.quickstart`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from gmner.cli.command import Command
from gmner.cli.files import check_run_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner quickstart`."""
    run_dir = Path("runs/quickstart")
    text = f"run directory (default: {run_dir})"
    parser.add_argument("--run-dir", type=Path, metavar="DIR", default=run_dir, help=text)


def run(given: Namespace) -> None:
    """Compile the embedded model on its world and report what changed."""
    from gmner.optimizers.quickstart import main

    check_run_dir(given.run_dir, [])
    main(given.run_dir)


COMMAND = Command(
    "quickstart",
    "compile the embedded model on synthetic posts in a few minutes and report what changed",
    "gmner quickstart",
    add_arguments,
    run,
    resumes=True,
)
