"""Names of files that are being written, and the removal of those that a killed process left behind."""

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
    """A new hidden name for something that this process is writing; it says which process that is."""
    return f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"


def is_draft(name: str) -> bool:
    """Whether a file has a name of `draft_name`, of whichever process."""
    return _DRAFT.fullmatch(name) is not None


def clear_leftovers(folder: Path) -> None:
    """Remove from a folder what processes of this machine were writing when they were killed.

    What a living process, or one of another machine or container, is writing stays. Folders inside are not searched.

    Args:
        folder: The folder, which may be missing.
    """
    if os.name != "posix":  # elsewhere a process cannot be looked for without harm
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        found = [entry.name for entry in entries if (match := _DRAFT.fullmatch(entry.name)) and _dead(*match.groups())]
        for name in found:
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
    except (OSError, OverflowError):  # it is of somebody else
        return False
    return False


@functools.cache
def _machine() -> str:
    """Eight digits of where process numbers mean the same: the host, and the container in it."""
    try:
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        container = ""
    return hashlib.sha256(f"{socket.gethostname()} {container}".encode()).hexdigest()[:8]
