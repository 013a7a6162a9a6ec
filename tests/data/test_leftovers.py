"""Temporary files of a killed process are removed at the next run; those of a running one are not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gmner.data.files import leftovers
from gmner.data.files.atomic import atomic_path, whole_folder, whole_text
from gmner.data.files.leftovers import clear_leftovers, draft_name, is_draft


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_leftovers_of_dead_local_processes_are_removed(dead: int, tmp_path: Path):
    mine = draft_name()
    machine = mine[1:9]
    left = mine.replace(f"-{os.getpid()}-", f"-{dead}-")
    strange = left.replace(machine, "0" * 8)
    for name in (mine, left, strange, "notes.tmp", ".tmp"):
        (tmp_path / name).touch()
    folder = tmp_path / left.replace(left[-16:-4], "a" * 12)
    (folder / "new").mkdir(parents=True)
    clear_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted((mine, strange, "notes.tmp", ".tmp"))
    assert [is_draft(name) for name in (left, ".tmp", "notes.tmp")] == [True, False, False]
    clear_leftovers(tmp_path / "missing")


def test_writers_remove_leftovers(dead: int, tmp_path: Path):
    left = draft_name().replace(f"-{os.getpid()}-", f"-{dead}-")
    (tmp_path / left).touch()
    with whole_text(tmp_path / "a.txt") as file:
        file.write("a")
    (tmp_path / left).touch()
    with whole_folder(tmp_path / "folder") as folder:
        (folder / "a").touch()
    with atomic_path(tmp_path / "b.txt") as name:
        name.touch()
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt", "folder"]


def test_leftovers_stay_if_processes_cannot_be_checked(dead: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    left = draft_name().replace(f"-{os.getpid()}-", f"-{dead}-")
    (tmp_path / left).touch()
    monkeypatch.setattr(leftovers.os, "name", "nt")
    clear_leftovers(tmp_path)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == [left]
