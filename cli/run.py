"""`gmner run`: the page of a compile, from its run directory."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from gmner.cli.command import Command, FileRules
from gmner.cli.options import add_output
from gmner.cli.printing import print_message
from gmner.data.files.outputs import OVERWRITE, exists, is_stream
from gmner.signatures.errors import InputError

_PAGE = "run.html"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner run`."""
    parser.add_argument("run_dir", type=Path, metavar="DIR", help="run directory of a compile")
    add_output(parser, "HTML", f"file to write the page to (default: DIR/{_PAGE})", required=False)


def run(given: Namespace) -> None:
    """Write the page."""
    from gmner.optimizers.run_page import is_run_page, write_run_page

    output = given.run_dir / _PAGE if given.output is None else given.output
    free = given.overwrite or is_stream(output) or not exists(output)
    if not free and not (output.is_file() and is_run_page(output, given.run_dir)):
        raise InputError("The output already exists", received=str(output), remedy=OVERWRITE)
    print_message(f"Wrote the page to {write_run_page(given.run_dir, output)}")


COMMAND = Command(
    "run",
    "write an HTML page of a compile, finished or still running: stages, curves, scores and sampled answers",
    "gmner run runs/mcr",
    add_arguments,
    run,
    files=FileRules(inputs=("run_dir",), may_replace=lambda given, output: output.name == _PAGE),
)
