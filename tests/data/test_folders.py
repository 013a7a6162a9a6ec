"""Folders are replaced atomically, at whatever write the process is killed."""

from pathlib import Path

import pytest
from kills import kills

from gmner.data.files import folders
from gmner.data.files.atomic import whole_folder
from gmner.data.files.folders import recover_folder

OLD, NEW = {"a.txt": "old", "sub/b.txt": "old"}, {"a.txt": "new", "c.txt": "new"}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


def replace(folder: Path) -> None:
    with whole_folder(folder / "out") as new:
        fill(new, NEW)


@pytest.mark.slow
@pytest.mark.parametrize("by_one", [True, False])
def test_kill_leaves_the_old_or_the_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_one: bool):
    if not by_one:
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    seen = []
    for kill in kills(replace, tmp_path, lambda folder: fill(folder / "out", OLD)):
        if not by_one:
            recover_folder(kill.folder / "out")
        seen.append(contents(kill.folder / "out"))
        assert seen[-1] in (OLD, NEW), kill
        replace(kill.folder)
        assert contents(kill.folder / "out") == NEW
    assert OLD in seen
    assert seen[-1] == NEW
    assert [path.name for path in kill.folder.iterdir()] == ["out"]


@pytest.mark.parametrize("place", ["nothing", "empty", "link"])
def test_folder_replaces_an_empty_one_and_follows_a_link(tmp_path: Path, place: str):
    real = tmp_path / ("real" if place == "link" else "out")
    if place == "link":
        fill(real, OLD)
        (tmp_path / "out").symlink_to(real)
    elif place == "empty":
        real.mkdir()
    replace(tmp_path)
    assert contents(real) == NEW
    assert (tmp_path / "out").is_symlink() == (place == "link")


def test_error_in_the_block_leaves_the_old_folder(tmp_path: Path):
    fill(tmp_path / "out", OLD)
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out"):
        raise ZeroDivisionError
    assert contents(tmp_path / "out") == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folder_does_not_replace_a_file(tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotADirectoryError), whole_folder(tmp_path / "out") as new:
        fill(new, NEW)
    assert (tmp_path / "out").read_text() == "mine"
