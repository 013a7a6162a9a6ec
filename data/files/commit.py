"""Replaces several files of a folder together: if the process is killed, either all or none are replaced."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_MARK = ".complete"


def replace_files(folder: Path, files: Mapping[str, Callable[[Path], object]]) -> None:
    """Write files, then replace the old ones.

    Each file is written under a temporary name. Then a marker file is created, and the files are renamed. A reader that
    calls `finish_replacing` sees the old files before the marker exists, and the new ones after.

    Args:
        folder: The folder; created if needed. Other files in it stay.
        files: Path in the folder -> function that writes the file to a given path.
    """
    finish_replacing(folder, list(files))
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _new(folder / name).unlink(missing_ok=True)  # left by a killed process
    try:
        for name, write in files.items():
            write(_new(folder / name))
    except BaseException:
        for name in files:
            _new(folder / name).unlink(missing_ok=True)
        raise
    (folder / _MARK).touch()
    finish_replacing(folder, list(files))


def finish_replacing(folder: Path, names: Sequence[str]) -> None:
    """Complete a `replace_files` that was killed after all of its files were written.

    Args:
        folder: The folder; it may be missing.
        names: The files that are replaced together.
    """
    if not (folder / _MARK).is_file():
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # already renamed
            os.replace(_new(folder / name), folder / name)
    (folder / _MARK).unlink(missing_ok=True)


def _new(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
