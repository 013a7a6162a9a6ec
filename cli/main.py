"""`gmner`: parses the command line, runs the command and turns its errors into a line and an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version

from gmner.cli.command import Command
from gmner.cli.files import prepare
from gmner.cli.registry import COMMANDS
from gmner.signatures.errors import GmnerError, ServerError
from gmner.signatures.terminal import PrintableFormatter, printable

_DESCRIPTION = """\
Grounded multimodal named entity recognition: find the named entities of a post
(text and image), with their types and bounding boxes.
"""
_MORE = "Run gmner COMMAND --help for the options of a command.\n\nexamples:"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words after `gmner`; None: those of this process.

    Returns:
        The exit code. 0: success. 1: the command failed for every post or image, a server or model stopped it, or
        `check` found posts that a compile would refuse. 2: the arguments or the data are invalid. 3: `compile` returned
        the program unchanged. 130: Ctrl-C.
    """
    top = parser()
    if "_ARGCOMPLETE" in os.environ:  # set by the shell when it asks for completions
        import argcomplete

        argcomplete.autocomplete(top)
    given = top.parse_args(arguments)
    with _logging():
        return _run(COMMANDS[given.command], given)


def _run(command: Command, given: argparse.Namespace) -> int:
    """Run a command; an error becomes a line and an exit code."""
    try:
        with ExitStack() as stack:
            prepare(command, given, stack)
            return command.run(given) or 0
    except ServerError as error:
        return _stop(str(error), 1)
    except (GmnerError, OSError) as error:
        return _stop(str(error), 2)
    except KeyboardInterrupt:
        resume = "; finished work is kept, run the same command again to resume" if command.resumes else ""
        return _stop(f"interrupted{resume}", 130)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line, with every registered command."""
    top = argparse.ArgumentParser(
        prog="gmner",
        description=_DESCRIPTION,
        epilog="\n".join([_MORE, *(f"  {command.example}" for command in COMMANDS.values())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"gmner {version('gmner')}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        added = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(added)
    return top


def _stop(message: str, code: int) -> int:
    sys.stderr.write(printable(f"gmner: {message}") + "\n")
    return code


@contextmanager
def _logging() -> Iterator[None]:
    """Print log records without the control characters of posts; those about servers even if logging is not set up."""
    log, handler = logging.getLogger("gmner.programs"), logging.StreamHandler()
    for printing in (handler, logging.lastResort):
        if printing is not None:
            printing.setFormatter(PrintableFormatter())
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
