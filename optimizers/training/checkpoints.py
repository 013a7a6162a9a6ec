"""The checkpoints of a stage: which are whole, and the newest of those to resume from."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback

from gmner.data.files.atomic import whole_text

MARK = "whole.json"
"""File name -> bytes of every file of a checkpoint, written when all of them are."""

STATE = "trainer_state.json"


class MarkWhole(TrainerCallback):
    """Writes into each checkpoint which files it has and how large they are, once all of them are written.

    Args:
        profile: The model's `gmner.json`, which each checkpoint gets as well: loaded by itself, it would be read in the
            box frame of its family otherwise. Need not exist.
    """

    def __init__(self, profile: Path) -> None:
        self._profile = profile

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint of this step."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            if self._profile.is_file():
                shutil.copyfile(self._profile, folder / self._profile.name)
            sizes = {name: file.stat().st_size for name, file in _files(folder)}
            with whole_text(folder / MARK) as mark:
                json.dump(sizes, mark)


def last_checkpoint(folder: Path, before: int | None = None) -> Path | None:
    """The newest whole checkpoint, or None.

    A checkpoint that a kill left half written or half removed does not count: one that lacks a file, or has a file that
    ends too early.

    Args:
        folder: The stage's folder.
        before: Only checkpoints of earlier steps; None: of any.
    """
    found = (path for step, path in _checkpoints(folder) if before is None or step < before)
    return next((path for path in found if is_whole(path)), None)


def drop_after(folder: Path, checkpoint: Path | None) -> None:
    """Remove the checkpoints behind the one that training resumes from, whole or not: they will be written anew."""
    for _, path in _checkpoints(folder):
        if path == checkpoint:
            return
        shutil.rmtree(path, ignore_errors=True)


def trainer_state(checkpoint: Path) -> dict[str, Any] | None:
    """What transformers knows of a checkpoint: step, number of steps, log; None: the file is missing or cut off."""
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of a checkpoint is there and complete."""
    if trainer_state(checkpoint) is None:  # the last file that transformers writes
        return False
    try:
        files = dict(_files(checkpoint))
        return _as_marked(checkpoint, files) and all(_complete(file) for file in files.values())
    except OSError:  # another process removes it
        return False


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Step and folder of each checkpoint, the newest first."""
    named = ((path.name.removeprefix("checkpoint-"), path) for path in folder.glob("checkpoint-*") if path.is_dir())
    return sorted(((int(step), path) for step, path in named if step.isdecimal()), reverse=True)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each file of a checkpoint but the mark."""
    files = (path for path in folder.rglob("*") if path.is_file() and path != folder / MARK)
    return ((path.relative_to(folder).as_posix(), path) for path in files)


def _as_marked(checkpoint: Path, files: Mapping[str, Path]) -> bool:
    """Whether the marked files are there in their sizes; a checkpoint may have no mark, as those of versions before."""
    try:
        marked = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return isinstance(marked, dict) and all(
        name in files and files[name].stat().st_size == size for name, size in marked.items()
    )


def _complete(file: Path) -> bool:
    """Whether a file ends where its own form says: safetensors, PyTorch's archives, JSON."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt"):
                return True
        if file.suffix in (".pt", ".pth", ".bin"):
            return zipfile.is_zipfile(file)
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, SafetensorError):
        return False
    return True
