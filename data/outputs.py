"""Where a command writes: never over one of its inputs, and over nobody's file without being told to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from gmner.signatures.errors import InputError

_OVERWRITE = "Choose another path, or pass --overwrite (overwrite=True) to replace it"


def check_output(output: Path, inputs: Iterable[Path | None] = (), *, overwrite: bool = False) -> None:
    """Refuse an output that would replace an input or something that lies there, before any work is done.

    Devices and pipes are accepted: they are written to and never replaced.

    Args:
        output: The file or folder to write; a symbolic link stands for its target.
        inputs: Files and folders that the command reads. Of a folder everything in it counts as an input.
        overwrite: Whether something that exists may be replaced. An input may not.

    Raises:
        InputError: The output is an input, holds one, or lies in one and exists; or it exists and `overwrite` is false.
    """
    if is_stream(output):
        return
    for given in inputs:
        if given is not None and _replaces(output, given):
            raise InputError("The output would replace an input", received=f"{output} (input: {given})",
                             remedy="Choose another path for the output")  # fmt: skip
    if not overwrite and exists(output):
        raise InputError("The output exists already", received=str(output), remedy=_OVERWRITE)


def exists(output: Path) -> bool:
    """Whether something lies where the output goes; an empty folder and the target of a broken link do not count."""
    target = Path(os.path.realpath(output))
    return target.exists() and not (target.is_dir() and not any(target.iterdir()))


def is_stream(path: Path) -> bool:
    """Whether a path leads to a device, a pipe or a socket, links followed."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _replaces(output: Path, given: Path) -> bool:
    """Whether writing `output` would change `given`."""
    target, source = Path(os.path.realpath(output)), Path(os.path.realpath(given))
    if target == source or _same_file(target, source):
        return True
    if source.is_relative_to(target) and target.is_dir():
        return True
    return target.exists() and source.is_dir() and target.is_relative_to(source)


def _same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, as hard links do."""
    try:
        return one.is_file() and os.path.samefile(one, other)
    except OSError:
        return False
