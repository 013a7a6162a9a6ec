"""`take_lock`: one process at a time writes a file or a folder, on every system."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER_LOCK = ".lock"
"""The lock file in a folder that one process at a time may fill."""

LOG = logging.getLogger(__name__)
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_HOLDER = "process "


class InUse(Exception):  # noqa: N818 - it is a state, which each caller words as an error of its own
    """Another process, or another place of this one, holds a lock.

    Attributes:
        holder: Which one: `process 12 on host`, or `another process` where the file does not say.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def take_lock(path: Path) -> FileLock | None:
    """Lock a file without waiting, until `release()` is called or this process ends.

    The lock is the system's, not the file: a file that a killed process left behind stops no one. The file stays after
    the release, because a process that has opened it would otherwise lock a file that others no longer see.

    Args:
        path: The lock file, in a folder that exists; made where it is missing. It names its last holder.

    Returns:
        The lock; None, with a warning, where the file system has no locks.

    Raises:
        InUse: It is locked already.
        OSError: It cannot be written.
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
    if not holder or holder.startswith(_HOLDER):  # else it is the mark of a lock made without the system's help
        with contextlib.suppress(OSError):  # Windows lets only the lock itself write
            path.write_text(f"{_HOLDER}{os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
    return lock


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
