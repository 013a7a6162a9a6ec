"""`RunDirectory`: the files of a compile, from which a stopped run resumes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from gmner.data.files.locks import InUse, take_lock
from gmner.signatures.errors import RunDirectoryError

_STAGE = re.compile(r"\w[\w.-]*")
_LONG = 120


class RunDirectory:
    """A folder with the arguments of a run and the results of its stages.

    Layout: `config.json` (the arguments), `lock` (the process that uses the folder), and one folder per stage, with
    `done.json` once the stage is finished. A finished stage is not run again; delete its folder to run it again. Files
    are replaced atomically, so an interruption leaves either the old or the new file.

    Args:
        path: The folder; created if it does not exist.
        config: The arguments of the run, as values that JSON can represent.
        writes: False for all but the first process of a launch, which share the folder: they take no lock, compare no
            arguments and write nothing.
        renewable: Arguments that may differ from those that the run was started with; see `renewed`.

    Attributes:
        path: The folder.
        config: The arguments, as JSON data.
        writes: Whether this process writes.
        renewed: The renewable arguments that differ. The caller computes again what depends on them, and then calls
            `accept`.

    Raises:
        RunDirectoryError: The folder belongs to a run with other arguments (the message names each one with both
            values), another process uses it, or JSON cannot represent an argument.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with RunDirectory(folder.name, {"seed": 1}) as run:
        ...     run.mark_done("chains", {"made": 12})
        >>> with RunDirectory(folder.name, {"seed": 1}) as run:
        ...     run.record("chains")
        {'made': 12}
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: Mapping[str, Any],
        *,
        writes: bool = True,
        renewable: Collection[str] = (),
    ) -> None:
        self.path, self.writes = Path(path), writes
        self.config = _as_json(config)
        self.renewed: tuple[str, ...] = ()
        self._renewable = frozenset(renewable)
        self._lock: FileLock | None = None
        if writes:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path)
            try:
                self._check_config()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock; all files are kept."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _check_config(self) -> None:
        if not (self.path / "config.json").exists():
            self.write_json("config.json", self.config)
            return
        before = self.read_json("config.json")
        comparable = isinstance(before, dict)
        self.renewed = tuple(
            name for name in sorted(self._renewable) if comparable and before.get(name) != self.config.get(name)
        )
        fixed = [
            {k: v for k, v in side.items() if k not in self.renewed} if comparable else side
            for side in (before, self.config)
        ]
        if differences := _differences(fixed[0], fixed[1]):
            remedy = "Resume it with the arguments that it was started with, or choose another run_dir"
            if any("not set" in difference for difference in differences):
                remedy += "; if an argument is not set on one side, another version of gmner may have started the run"
            raise RunDirectoryError(
                f"The run in {self.path} was started with other arguments: {'; '.join(differences)}", remedy=remedy
            )

    def accept(self) -> None:
        """Save the renewed arguments as those of the run."""
        self.write_json("config.json", self.config)
        self.renewed = ()

    def stage(self, name: str) -> Path:
        """The folder of a stage; created if it does not exist.

        Raises:
            RunDirectoryError: The name is not a plain folder name.
        """
        if not _STAGE.fullmatch(name):
            accepted = "letters, digits, _, - and ."
            raise RunDirectoryError("The name of a stage is not a plain folder name", received=name, accepted=accepted)
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def done(self, name: str) -> bool:
        """Whether a stage is finished, by this or an earlier process."""
        return (self.path / name / "done.json").is_file()

    def mark_done(self, name: str, record: Mapping[str, Any] | None = None) -> None:
        """Mark a stage as finished.

        Call this last: all results of the stage must be on disk before.

        Args:
            name: The stage.
            record: JSON data to save with the mark.
        """
        self.stage(name)
        self.write_json(f"{name}/done.json", dict(record or {}))

    def record(self, name: str) -> dict[str, Any]:
        """The record that `mark_done` saved for a finished stage.

        Raises:
            RunDirectoryError: The stage is not finished.
        """
        if not self.done(name):
            raise RunDirectoryError(f"The stage {name} of the run in {self.path} is not finished")
        return self.read_json(f"{name}/done.json")

    def write_json(self, name: str, data: Any) -> Path:
        """Write JSON data to a file of the run, atomically.

        Args:
            name: Path inside the run directory.
            data: JSON-able data.
        """
        return self._write(name, json.dumps(data, indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """The data of a JSON file of the run.

        Raises:
            RunDirectoryError: The file does not exist or is not JSON.
        """
        return self._parse(name, self._read(name))

    def _read(self, name: str) -> str:
        try:
            return self._inside(name).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise RunDirectoryError(f"The run in {self.path} has no file {name}") from error

    def _parse(self, name: str, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            remedy = "Restore or delete the file; it was not written by gmner"
            raise RunDirectoryError(
                f"{name} of the run in {self.path} is not JSON", received=text, remedy=remedy
            ) from error

    def _write(self, name: str, text: str) -> Path:
        target = self._inside(name)
        if not self.writes:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def _inside(self, name: str) -> Path:
        target = Path(name)
        if target.is_absolute() or ".." in target.parts or target == Path():
            raise RunDirectoryError("The path of a file leaves the run directory", received=name)
        return self.path / target


def _locked(folder: Path) -> FileLock | None:
    """Take the lock of a run directory, until it is released or this process ends."""
    try:
        return take_lock(folder / "lock")
    except InUse as error:
        remedy = "Wait until it ends, or choose another run_dir"
        raise RunDirectoryError(f"The run in {folder} is in use by {error.holder}", remedy=remedy) from error


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the JSON data that reading them back returns."""
    for name, value in config.items():
        try:
            json.dumps(value, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise RunDirectoryError(
                f"The argument {name} cannot be saved in a run directory",
                received=value,
                accepted="values that JSON can represent",
            ) from error
    return json.loads(json.dumps(dict(config), sort_keys=True))


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Each argument that differs as `name: value there, value now`; nested arguments have dotted names."""
    if isinstance(before, dict) and isinstance(now, dict):
        differences: list[str] = []
        for key in sorted({*before, *now}):
            path = f"{name}.{key}" if name else key
            if key in before and key in now:
                differences += _differences(before[key], now[key], path)
            else:
                sides = [_cut(json.dumps(side[key])) if key in side else "not set" for side in (before, now)]
                differences.append(f"{path}: {sides[0]} there, {sides[1]} now")
        return differences
    old, new = json.dumps(before, sort_keys=True), json.dumps(now, sort_keys=True)
    if old == new:
        return []
    if isinstance(before, list) and isinstance(now, list) and max(len(old), len(new)) > _LONG:
        return _list_differences(before, now, name)
    start = 0
    if max(len(old), len(new)) > _LONG:  # show the part of long texts that differs
        start = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        start = max(start - 20, 0)
    return [f"{name}: {_cut(old, start)} there, {_cut(new, start)} now"]


def _list_differences(before: list[Any], now: list[Any], name: str) -> list[str]:
    """The differences of long lists: their lengths, and the first item that differs."""
    lengths = [] if len(before) == len(now) else [f"{name}: {len(before)} values there, {len(now)} now"]
    for place, (old, new) in enumerate(zip(before, now, strict=False)):
        if differences := _differences(old, new, f"{name}[{place}]"):
            return lengths + differences
    return lengths


def _cut(text: str, start: int = 0) -> str:
    text = f"…{text[start:]}" if start else text
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
