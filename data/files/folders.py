"""Replaces a folder: atomically if the system can exchange two folders, otherwise in two recoverable steps."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from pathlib import Path

_CURRENT_FOLDER = -100  # AT_FDCWD on Linux
_SWAP = 2  # RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS


def replace_folder(new: Path, path: Path) -> None:
    """Replace the folder `path` with the folder `new`.

    This takes one rename if `path` does not exist or is an empty folder. It also takes one if the system can exchange
    two folders, as Linux and macOS can on their usual file systems; the old folder is at `new` afterwards. Otherwise it
    takes two renames. If the process is killed between them, `recover_folder` restores the old folder.

    Args:
        new: A folder on the same file system.
        path: A folder, or a path that does not exist.

    Raises:
        OSError: `path` is a file, or the system refuses.
    """
    try:
        os.replace(new, path)
    except OSError:
        if not path.is_dir():
            raise
        if not _exchange(new, path):
            _replace_by_two(new, path)


def recover_folder(path: Path) -> None:
    """Restore the folder that a killed `replace_folder` moved aside; readers and writers call this first."""
    # Another process may have restored it already, the folder may be read-only, or the path may be invalid.
    with contextlib.suppress(OSError, ValueError):
        if not os.path.lexists(path) and _aside(path).is_dir():
            os.replace(_aside(path), path)


def _replace_by_two(new: Path, path: Path) -> None:
    aside = _aside(path)
    if aside.exists():  # `path` exists, so a killed process replaced this folder and did not remove it
        shutil.rmtree(aside)
    os.replace(path, aside)
    try:
        os.replace(new, path)
    except OSError:
        recover_folder(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name[:200]}.replaced")


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders with one system call. Returns False, and changes nothing, if the system cannot."""
    names = os.fsencode(first), os.fsencode(second)
    sys.audit("os.rename", first, second, -1, -1)  # as os.rename does
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return libc.renamex_np(*names, _SWAP) == 0
    if hasattr(libc, "renameat2"):
        return libc.renameat2(_CURRENT_FOLDER, names[0], _CURRENT_FOLDER, names[1], _SWAP) == 0
    return False
