"""`take_lock`: locks a file or a folder, so that only one process writes to it; works on every system."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER_LOCK = ".lock"
"""Name of the lock file in a folder that only one process may write to."""

LOG = logging.getLogger(__name__)
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_HOLDER = "process "


class InUse(Exception):  # noqa: N818 - callers convert this state to an error of their own
    """A lock is held by another process, or elsewhere in this process.

    Attributes:
        holder: The holder, such as `process 12 on host`, or `another process` if the file does not name it.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def take_lock(path: Path) -> FileLock | None:
    """Lock a file without waiting, until `release()` is called or this process ends.

    The operating system holds the lock, so a file that a killed process left behind does not block anyone. The file is
    kept after the release; otherwise, a process that has already opened it could lock a deleted file.

    Args:
        path: The lock file; created if missing, in a folder that exists. It contains the name of its last holder.

    Returns:
        The lock. If the file system does not support locks, a warning is logged and None is returned.

    Raises:
        InUse: The file is already locked.
        OSError: The file cannot be written.
    """
    holder = _read(path)
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InUse(holder if holder.startswith(_HOLDER) else "another process") from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        LOG.warning("The file system of %s does not support locks; run only one process in this folder", path.parent)
        return None
    if not holder or holder.startswith(_HOLDER):  # otherwise it is the marker of a SoftFileLock
        with contextlib.suppress(OSError):  # Windows lets only the lock handle write
            path.write_text(f"{_HOLDER}{os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
    return lock


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
