"""`open_inside`: opens a file named by untrusted data, and only inside an allowed folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_inside(path: Path, root: Path | None) -> tuple[BinaryIO, int]:
    """Open a regular file for reading, and check the open file instead of its path.

    Between a check of the path and the opening, a folder could be replaced by a link, or a file by a pipe. The file is
    therefore opened without blocking, folder by folder from `root` and without following links, and all checks use the
    descriptor. Windows cannot open files relative to a folder; there, the location of the open file is checked.

    Args:
        path: The path, with links resolved.
        root: The folder that the file must be in; None: any folder.

    Returns:
        The open file, and its size in bytes.

    Raises:
        OSError: The file is missing, cannot be read, is not a regular file, or is outside `root`.
    """
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    relative = root is not None and os.open in os.supports_dir_fd
    descriptor = _open_below(path, root, flags) if root is not None and relative else os.open(path, flags)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(None, "not a regular file")
        if root is not None and not relative and not _lies_inside(descriptor, path, root):
            raise OSError(None, "outside of the image folder")
        return os.fdopen(descriptor, "rb"), info.st_size
    except BaseException:
        os.close(descriptor)
        raise


def _open_below(path: Path, root: Path, flags: int) -> int:
    """Open a path part by part, each relative to the open parent folder, without following links."""
    folder = Path(os.path.realpath(root))
    if not path.is_relative_to(folder) or ".." in path.parts or path == folder:
        raise OSError(None, "outside of the image folder")
    *parents, name = path.relative_to(folder).parts
    folder_flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(folder, folder_flags)
    try:
        for parent in parents:
            below = os.open(parent, folder_flags | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        return os.open(name, flags, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _lies_inside(descriptor: int, path: Path, root: Path) -> bool:
    """Whether an open file is in a folder, even if its path has changed since."""
    folder, link = os.path.realpath(root), f"/proc/self/fd/{descriptor}"
    real = os.readlink(link) if os.path.islink(link) else os.path.realpath(path)
    if not Path(real).is_relative_to(folder):
        return False
    try:
        return os.path.samestat(os.stat(real), os.fstat(descriptor))
    except FileNotFoundError:
        return False
