"""Names of temporary files, and the removal of those that killed processes left behind."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import socket
import uuid
from pathlib import Path

_DRAFT = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.tmp")


def draft_name() -> str:
    """Create a unique hidden file name that identifies the machine and the process."""
    return f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"


def is_draft(name: str) -> bool:
    """Whether a file name was made by `draft_name`, in any process."""
    return _DRAFT.fullmatch(name) is not None


def clear_leftovers(folder: Path) -> None:
    """Remove temporary files from a folder that killed processes of this machine left there.

    Files of running processes and of other machines or containers are kept. Subfolders are not searched.

    Args:
        folder: The folder; it may be missing.
    """
    if os.name != "posix":  # on Windows, os.kill(pid, 0) interrupts the process
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        leftovers = [
            entry.name for entry in entries if (match := _DRAFT.fullmatch(entry.name)) and _dead(*match.groups())
        ]
        for name in leftovers:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _dead(machine: str, process: str) -> bool:
    if machine != _machine():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # the process belongs to another user
        return False
    return False


@functools.cache
def _machine() -> str:
    """Eight digits that identify the host and the container, within which process ids are unique."""
    try:
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        container = ""
    return hashlib.sha256(f"{socket.gethostname()} {container}".encode()).hexdigest()[:8]
