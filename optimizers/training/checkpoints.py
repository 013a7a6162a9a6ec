"""Finds the newest complete checkpoint of a stage, from which training resumes. Loads no torch."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

MARK = "whole.json"
"""A JSON file with the name and size in bytes of every file of a checkpoint; written last."""

STATE = "trainer_state.json"


def last_checkpoint(folder: Path, before: int | None = None) -> Path | None:
    """The newest complete checkpoint, or None.

    Skips checkpoints with a missing or truncated file, as a process that is killed while saving or deleting leaves
    them.

    Args:
        folder: The stage's folder.
        before: Only consider checkpoints of earlier steps than this one; None: all.
    """
    candidates = (path for step, path in _checkpoints(folder) if before is None or step < before)
    return next((path for path in candidates if is_whole(path)), None)


def drop_after(folder: Path, checkpoint: Path | None) -> None:
    """Remove the checkpoints after the one that training resumes from; they will be written again."""
    for _, path in _checkpoints(folder):
        if path == checkpoint:
            return
        shutil.rmtree(path, ignore_errors=True)


def trainer_state(checkpoint: Path) -> dict[str, Any] | None:
    """The state that transformers saves with a checkpoint (steps, log); None: the file is missing or truncated."""
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of a checkpoint exists and is complete."""
    if trainer_state(checkpoint) is None:  # the last file that transformers writes
        return False
    try:
        files = dict(files_of(checkpoint))
        return _as_marked(checkpoint, files) and all(_complete(file) for file in files.values())
    except OSError:  # another process is removing the checkpoint
        return False


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Step and folder of each checkpoint, newest first."""
    named = ((path.name.removeprefix("checkpoint-"), path) for path in folder.glob("checkpoint-*") if path.is_dir())
    return sorted(((int(step), path) for step, path in named if step.isdecimal()), reverse=True)


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each file of a checkpoint, except the mark."""
    files = (path for path in folder.rglob("*") if path.is_file() and path != folder / MARK)
    return ((path.relative_to(folder).as_posix(), path) for path in files)


def _as_marked(checkpoint: Path, files: Mapping[str, Path]) -> bool:
    """Whether the listed files exist with their sizes; True without a list, as in checkpoints of earlier versions."""
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
    """Whether a file is complete according to its own format: safetensors, a PyTorch archive, JSON."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "np"):
                return True
        if file.suffix in (".pt", ".pth", ".bin"):
            return zipfile.is_zipfile(file)
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, SafetensorError):
        return False
    return True
