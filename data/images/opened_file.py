"""`open_inside`: a file named by untrusted data, opened once and only where it may lie."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_inside(path: Path, root: Path | None) -> tuple[BinaryIO, int]:
    """Open a regular file for reading, and check the file that was opened rather than its name.

    The name may be given another meaning between a check and the opening: a folder swapped for a link, a file for a
    pipe. So it is opened without blocking, folder by folder from `root` without following a link, and everything is
    then asked of the descriptor. Windows, which opens nothing relative to a folder, asks the open file where it lies.

    Args:
        path: The path, links resolved.
        root: The folder that the file must lie in; None: any.

    Returns:
        The open file, and its size in bytes.

    Raises:
        OSError: It is missing, cannot be read, is no regular file or lies outside `root`.
    """
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    walks = root is not None and os.open in os.supports_dir_fd
    descriptor = _open_below(path, root, flags) if root is not None and walks else os.open(path, flags)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(None, "it is not a file")
        if root is not None and not walks and not _lies_inside(descriptor, path, root):
            raise OSError(None, "it lies outside of its folder")
        return os.fdopen(descriptor, "rb"), info.st_size
    except BaseException:
        os.close(descriptor)
        raise


def _open_below(path: Path, root: Path, flags: int) -> int:
    """Open a path part by part, each in the folder that was opened before: no link on the way is followed."""
    folder = Path(os.path.realpath(root))
    if not path.is_relative_to(folder) or ".." in path.parts or path == folder:
        raise OSError(None, "it lies outside of its folder")
    *parents, name = path.relative_to(folder).parts
    through = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(folder, through)
    try:
        for parent in parents:
            below = os.open(parent, through | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        return os.open(name, flags, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _lies_inside(descriptor: int, path: Path, root: Path) -> bool:
    """Whether an open file lies in a folder, whatever its path leads to by now."""
    folder, link = os.path.realpath(root), f"/proc/self/fd/{descriptor}"
    real = os.readlink(link) if os.path.islink(link) else os.path.realpath(path)
    if not Path(real).is_relative_to(folder):
        return False
    try:
        return os.path.samestat(os.stat(real), os.fstat(descriptor))
    except FileNotFoundError:
        return False
