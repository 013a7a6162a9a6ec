"""`Command`: what a command of `gmner` consists of."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


def _never(given: Namespace, output: Path) -> bool:
    return False


@dataclass(frozen=True)
class FileRules:
    """How a command treats the files that its arguments name; `gmner.cli.files.prepare` applies the rules.

    Attributes:
        inputs: Arguments that name inputs, in addition to `gmner.cli.files.INPUTS`.
        standard_input: Whether `-` in place of posts or predictions means standard input.
        standard_output: Whether `-o -` means standard output.
        kept_beside: Suffixes of the files that the command writes beside its output.
        may_replace: Takes the parsed arguments and an output that exists in a folder the command reads. Returns whether
            that file can be the command's own earlier output; otherwise it counts as an input.
    """

    inputs: tuple[str, ...] = ()
    standard_input: bool = False
    standard_output: bool = False
    kept_beside: tuple[str, ...] = ()
    may_replace: Callable[[Namespace, Path], bool] = _never


@dataclass(frozen=True, slots=True)
class Command:
    """A command of `gmner`.

    Attributes:
        name: The word after `gmner`.
        summary: What the command does, for `gmner --help`: an imperative in lower case, without a full stop.
        example: A complete command line, for `--help`.
        add_arguments: Adds the command's arguments to its parser. It is called for every `gmner --help` and every shell
            completion, so neither it nor its module may import torch, transformers or dspy.
        run: Runs the command with the parsed arguments. Returns the exit code; None means 0. A `GmnerError` or an
            `OSError` that it raises is printed in one line.
        resumes: Whether the same command continues after Ctrl-C.
        files: How the command treats its files.
    """

    name: str
    summary: str
    example: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int | None]
    resumes: bool = False
    files: FileRules = field(default_factory=FileRules)
