"""What an output may replace: never an input, and nobody's file without being told to."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from gmner.signatures.errors import InputError

OVERWRITE = "Choose another path, or pass --overwrite to replace it"
"""The remedy if an output already exists."""

_DESCRIPTOR = re.compile(r"/dev/(std(in|out|err)|fd/\d+)|/proc/(self|\d+)/fd/\d+")


def check_inputs(output: Path, inputs: Iterable[Path], *, own: bool = False) -> None:
    """Refuse an output that would change one of the inputs of a command, before any work is done.

    Args:
        output: The file or folder to write; a symbolic link stands for its target.
        inputs: Files and folders that the command reads.
        own: Whether a file that exists in an input folder may be the command's own earlier output. False: everything
            in such a folder counts as an input.

    Raises:
        InputError: The output is an input, also by another link; holds one; or exists in an input folder.
    """
    if is_stream(output):
        return
    given = next((path for path in inputs if _replaces(output, path, own=own)), None)
    if given is not None:
        received = f"{output}, where {given} is read"
        raise InputError("The output would replace an input", received=received, remedy="Write to another path")


def check_outside(output: Path, folders: Iterable[Path]) -> None:
    """Refuse an output inside a folder whose files are one whole, such as a bundle or a checkpoint.

    Raises:
        InputError: It would add a file to one of them.
    """
    for folder in folders:
        if folder.is_dir() and not is_stream(output) and _holds(_real(folder), _real(output)):
            received = f"{output}, inside {folder}"
            raise InputError("The output would become part of an input", received=received, remedy="Write elsewhere")


def check_checkpoint_place(folder: Path, *, overwrite: bool) -> None:
    """Refuse to write a checkpoint over something else, before any model is loaded.

    Args:
        folder: Where it goes: nothing, an empty folder, or with `overwrite` another checkpoint.
        overwrite: Whether a checkpoint there may be replaced.

    Raises:
        InputError: Something exists there that must not be replaced.
    """
    if not exists(folder):
        return
    checkpoint = (folder / "config.json").is_file() and any(folder.glob("*.safetensors*"))
    if not checkpoint or not overwrite:
        remedy = OVERWRITE if checkpoint else "Choose another path; only a checkpoint can be replaced"
        raise InputError("The checkpoint would be written over something else", received=str(folder), remedy=remedy)


def exists(output: Path) -> bool:
    """Whether something lies where the output goes; an empty folder does not count."""
    target = _real(output)
    if target.is_symlink():
        return True  # links that lead to one another: there is no target to write to
    return target.exists() and not (target.is_dir() and not any(target.iterdir()))


def is_stream(path: Path) -> bool:
    """Whether a path leads to a device, a pipe, a socket or an open descriptor such as `/dev/stdout`."""
    if _DESCRIPTOR.fullmatch(os.path.abspath(path)):
        return True  # also where it was redirected to a file: the shell has that file open
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _replaces(output: Path, given: Path, *, own: bool) -> bool:
    """Whether writing `output` would change `given`."""
    target, source = _real(output), _real(given)
    if target == source or _same_file(target, source):
        return True
    if target.is_dir() and _holds(target, source):
        return True
    return not own and target.is_file() and source.is_dir() and _holds(source, target)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _holds(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder, by what the folders are: their names may differ in case where that is one."""
    if path.is_relative_to(folder):
        return True
    try:
        return any(parent.exists() and os.path.samefile(parent, folder) for parent in path.parents)
    except OSError:
        return False


def _same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file or folder, as hard links do, and names that differ in case on some systems."""
    try:
        return one.exists() and os.path.samefile(one, other)
    except OSError:
        return False
