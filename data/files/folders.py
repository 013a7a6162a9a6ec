"""Replaces a folder atomically where the system can exchange folders, and recoverably elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from pathlib import Path

_HERE = -100  # AT_FDCWD on Linux
_SWAP = 2  # RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS


def replace_folder(new: Path, path: Path) -> None:
    """Put the folder `new` in the place of `path`.

    One rename where nothing or an empty folder lies at `path`, and where the system can exchange two folders (Linux and
    macOS, on their usual file systems); what lay at `path` is at `new` afterwards. Elsewhere two renames: what a kill
    between them moved aside is brought back by `recover_folder`.

    Args:
        new: A folder on the same file system.
        path: Nothing, or a folder.

    Raises:
        OSError: A file lies at `path`, or the system refuses.
    """
    try:
        os.replace(new, path)
    except OSError:
        if not path.is_dir():
            raise
        if not _exchange(new, path):
            _replace_by_two(new, path)


def recover_folder(path: Path) -> None:
    """Bring back the folder that a killed `replace_folder` moved aside; readers and writers call this first."""
    # Another process may be quicker, nothing may be written here, or the path is none that the system takes.
    with contextlib.suppress(OSError, ValueError):
        if not os.path.lexists(path) and _aside(path).is_dir():
            os.replace(_aside(path), path)


def _replace_by_two(new: Path, path: Path) -> None:
    aside = _aside(path)
    if aside.exists():  # `path` is there, so this is what a killed process had replaced and not yet removed
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


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders by one call of the system; False: it cannot, and nothing has changed."""
    names = os.fsencode(one), os.fsencode(other)
    sys.audit("os.rename", one, other, -1, -1)  # as os.rename would
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return libc.renamex_np(*names, _SWAP) == 0
    if hasattr(libc, "renameat2"):
        return libc.renameat2(_HERE, names[0], _HERE, names[1], _SWAP) == 0
    return False
