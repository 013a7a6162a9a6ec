"""Locks: exclusive, released by killed processes, and portable."""

import errno
import logging
import os
from pathlib import Path

import filelock
import pytest

import gmner
from gmner.data.files.locks import InUse, take_lock


def test_lock_is_exclusive_and_names_its_holder(tmp_path: Path):
    lock = take_lock(tmp_path / "lock")
    with pytest.raises(InUse, match=rf"^process {os.getpid()} on \S+$"):
        take_lock(tmp_path / "lock")
    lock.release()
    take_lock(tmp_path / "lock").release()
    assert (tmp_path / "lock").exists()


def test_file_system_without_locks_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def acquire(self: filelock.FileLock, timeout: float) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with caplog.at_level(logging.WARNING):
        assert take_lock(tmp_path / "lock") is None
    assert "does not support locks" in caplog.text


def test_no_module_uses_platform_specific_locks():
    root = Path(gmner.__file__).parent
    rooms = [root / name for name in ("signatures", "data", "programs", "optimizers", "cli")]
    sources = {path: path.read_text(encoding="utf-8") for room in rooms for path in room.rglob("*.py")}
    assert [path for path, source in sources.items() if "import fcntl" in source] == []
    assert [path.name for path, source in sources.items() if "import resource" in source] == ["peak_memory.py"]
