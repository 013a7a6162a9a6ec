"""Checks of output paths: an output never replaces an input, and replaces other files only if requested."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from gmner.data.files.leftovers import is_draft
from gmner.data.files.locks import FOLDER_LOCK
from gmner.signatures.errors import InputError

OVERWRITE = "Choose another path, or pass --overwrite to replace it"
"""Remedy for an output path that exists."""

_POSTS = {"posts.jsonl", "images", FOLDER_LOCK}

_DESCRIPTOR = re.compile(r"/dev/(std(in|out|err)|fd/\d+)|/proc/(self|\d+)/fd/\d+")


def check_inputs(output: Path, inputs: Iterable[Path], *, own: bool = False) -> None:
    """Raise an error if an output would change an input of a command. Call this before any work begins.

    Args:
        output: The file or folder to write; symbolic links are resolved.
        inputs: Files and folders that the command reads.
        own: Whether an existing file in an input folder may be an earlier output of the command. If False, every file
            in an input folder counts as an input.

    Raises:
        InputError: The output is an input (directly or through a link), contains one, or is an existing file in an
            input folder.
    """
    if is_stream(output):
        return
    replaced = next((path for path in inputs if _replaces(output, path, own=own)), None)
    if replaced is not None:
        received = f"output {output}, input {replaced}"
        raise InputError("The output would replace an input", received=received, remedy="Write to another path")


def check_outside(output: Path, folders: Iterable[Path]) -> None:
    """Raise an error if an output is inside a folder whose files belong together, such as a bundle or a checkpoint.

    Raises:
        InputError: The output is inside one of the folders.
    """
    for folder in folders:
        if folder.is_dir() and not is_stream(output) and _holds(_real(folder), _real(output)):
            received = f"{output}, inside {folder}"
            raise InputError(
                "The output would become part of an input", received=received, remedy="Write to another folder"
            )


def check_checkpoint_place(folder: Path, *, overwrite: bool) -> None:
    """Check, before a model is loaded, that a checkpoint can be written to a folder.

    Args:
        folder: The output folder; it must not exist, be empty, or, with `overwrite`, contain a checkpoint.
        overwrite: Whether an existing checkpoint may be replaced.

    Raises:
        InputError: The folder contains files that must not be replaced.
    """
    if not exists(folder):
        return
    checkpoint = (folder / "config.json").is_file() and any(folder.glob("*.safetensors*"))
    if not checkpoint or not overwrite:
        remedy = OVERWRITE if checkpoint else "Choose another path; only a checkpoint can be replaced"
        raise InputError("The output folder is not empty", received=str(folder), remedy=remedy)


def exists(output: Path) -> bool:
    """Whether an output path exists; an empty folder does not count."""
    target = _real(output)
    if target.is_symlink():
        return True  # a loop of links, which has no target to write to
    return target.exists() and not (target.is_dir() and not any(target.iterdir()))


def other_than_posts(output: Path) -> list[Path]:
    """What an existing output contains besides posts, their images, and the lock and drafts of commands, sorted.

    Args:
        output: A folder, or a file, which is returned itself.
    """
    if not output.is_dir():
        return [output]
    return sorted(path for path in output.iterdir() if path.name not in _POSTS and not is_draft(path.name))


def is_stream(path: Path) -> bool:
    """Whether a path leads to a device, a pipe, a socket or an open descriptor such as `/dev/stdout`."""
    if _DESCRIPTOR.fullmatch(os.path.abspath(path)):
        return True  # even if redirected to a file, which the shell has opened
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _replaces(output: Path, source: Path, *, own: bool) -> bool:
    """Whether writing `output` would change `source`."""
    target, source = _real(output), _real(source)
    if target == source or _same_file(target, source):
        return True
    if target.is_dir() and _holds(target, source):
        return True
    return not own and target.is_file() and source.is_dir() and _holds(source, target)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _holds(folder: Path, path: Path) -> bool:
    """Whether a path is in a folder. Compares the folders themselves, because file systems may ignore case."""
    if path.is_relative_to(folder):
        return True
    try:
        return any(parent.exists() and os.path.samefile(parent, folder) for parent in path.parents)
    except OSError:
        return False


def _same_file(first: Path, second: Path) -> bool:
    """Whether two paths are the same file or folder; hard links and, on some systems, names in another case are."""
    try:
        return first.exists() and os.path.samefile(first, second)
    except OSError:
        return False
