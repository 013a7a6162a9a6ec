"""Several files of a folder that are replaced together: a kill leaves all of the old or all of the new ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_MARK = ".complete"


def replace_files(folder: Path, files: Mapping[str, Callable[[Path], object]]) -> None:
    """Write files and put them in the places of the old ones.

    Each is written under another name. A mark, which is one file, says that all of them are written; from then on a
    reader that calls `finish_replacing` gets the new ones, before that the old ones.

    Args:
        folder: The folder; made if it is not there. Other files in it stay.
        files: Path in the folder -> what writes the file to the path that it is given.
    """
    finish_replacing(folder, list(files))
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _new(folder / name).unlink(missing_ok=True)  # of a process that was killed
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
    """Finish what a killed `replace_files` began, if all of its files were written.

    Args:
        folder: The folder, which may be missing.
        names: The files that are replaced together.
    """
    if not (folder / _MARK).is_file():
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # it is in its place already
            os.replace(_new(folder / name), folder / name)
    (folder / _MARK).unlink(missing_ok=True)


def _new(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
