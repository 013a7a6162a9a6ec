"""`gmner run`: the page of a compile, from its run directory."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from gmner.cli.command import Command, FileRules
from gmner.cli.options import add_output, positive_int
from gmner.cli.printing import print_message
from gmner.data.files.outputs import OVERWRITE, exists, is_stream
from gmner.signatures.errors import InputError

_PAGE, _RESULT = "run.html", "result.json"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner run`."""
    run_dir = "run directory of a compile; several are shown side by side"
    parser.add_argument("run_dir", type=Path, nargs="+", metavar="DIR", help=run_dir)
    add_output(parser, "HTML", f"file to write the page to (default: {_PAGE} in the first DIR)", required=False)
    watch = "rewrite the page every N seconds (default: 10) until the compiles are finished; the browser reloads it"
    parser.add_argument("--watch", type=positive_int, nargs="?", const=10, metavar="N", help=watch)


def run(given: Namespace) -> None:
    """Write the page."""
    from gmner.optimizers.run_page import is_run_page, write_run_page

    output = given.run_dir[0] / _PAGE if given.output is None else given.output
    free = given.overwrite or is_stream(output) or not exists(output)
    if not free and not (output.is_file() and is_run_page(output, *given.run_dir)):
        raise InputError("The output already exists", received=str(output), remedy=OVERWRITE)
    if given.watch is not None:
        _watch(given.run_dir, output, given.watch)
    print_message(f"Wrote the page to {write_run_page(given.run_dir, output)}")


def _watch(folders: Sequence[Path], output: Path, seconds: int) -> None:
    """Write the page every few seconds until all runs have a result, or Ctrl-C."""
    from gmner.optimizers.run_page import write_run_page

    if is_stream(output):
        raise InputError("--watch needs a file", received=str(output), accepted="a path with -o")
    print_message(f"Open {output.resolve()} in a browser. Ctrl-C ends the watch, not the compile")
    try:
        while not all((folder / _RESULT).is_file() for folder in folders):
            write_run_page(folders, output, refresh=seconds)
            time.sleep(seconds)
    except KeyboardInterrupt:
        print_message("Stopped watching")


COMMAND = Command(
    "run",
    "write an HTML page of a compile, finished or still running: stages, curves, scores and sampled answers",
    "gmner run runs/mcr",
    add_arguments,
    run,
    files=FileRules(inputs=("run_dir",), may_replace=lambda given, output: output.name == _PAGE),
)
