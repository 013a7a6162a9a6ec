"""File access shared by the readers: listing folders, staying inside the root, reading lines, unique ids."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gmner.data.oddities import OddityLog
from gmner.signatures.errors import DataError, InputError

_NO_SPLIT = "none, because the folder is missing or empty"


@dataclass(frozen=True, slots=True)
class FolderListing:
    """The regular files of a folder.

    Attributes:
        files: Name -> path.
        outside: The names of links to places outside the roots, which readers do not open.
    """

    files: dict[str, str] = field(default_factory=dict)
    outside: frozenset[str] = frozenset()


def list_folder(folder: Path, roots: Sequence[Path]) -> FolderListing:
    """List the regular files of a folder.

    Args:
        folder: The folder; a missing one has no files.
        roots: The folders that links may point into.

    Raises:
        InputError: The folder cannot be read.
        DataError: The folder is a link to a place outside the roots.
    """
    files, outside = dict[str, str](), set[str]()
    if not folder.is_dir():
        return FolderListing()
    if not stays_inside(folder, roots):
        raise DataError(f"{folder}: a link that leads outside {', '.join(map(str, roots))}")
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink() and not stays_inside(Path(entry.path), roots):
                    outside.add(entry.name)
                elif entry.is_file():
                    files[entry.name] = entry.path
    except OSError as error:
        raise InputError("A folder cannot be read", received=str(folder), remedy=str(error)) from error
    return FolderListing(files, frozenset(outside))


def stays_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Whether a path, after following all links, is inside one of the roots."""
    try:
        real = path.resolve()
        return any(real.is_relative_to(root.resolve()) for root in roots)
    except (OSError, RuntimeError):  # links that form a circle
        return False


def split_file(folder: Path, split: str, root: Path, remedy: str) -> Path:
    """The file `<folder>/<split>.txt`.

    Raises:
        InputError: The folder or split does not exist; the error names the splits that do.
        DataError: The file is a link to a place outside `root`.
    """
    listing = list_folder(folder, [root])
    name = f"{split}.txt"
    if name in listing.outside:
        raise DataError(f"{folder / name}: a link that leads outside {root}")
    if name not in listing.files:
        splits = sorted(Path(file).stem for file in listing.files if file.endswith(".txt"))
        raise InputError(
            f"{folder} has no such split",
            received=split,
            accepted=", ".join(splits) or _NO_SPLIT,
            remedy=remedy,
        )
    return folder / name


@contextmanager
def split_required(path: Path, split: str | None) -> Iterator[None]:
    """Turn the error of a reader that found no split named "" into one that says how to choose a split.

    Args:
        path: The data set.
        split: The split that the caller named; the reader got `split or ""`.

    Raises:
        InputError: The data set has splits, and none was named; or it has none, or is not a folder.
    """
    try:
        yield
    except InputError as error:
        if split or error.received != "":
            raise
        if not path.is_dir():
            raise InputError("The data set is not a folder", received=str(path)) from error
        if error.accepted == _NO_SPLIT:
            raise InputError("The folder contains no split of a data set", received=str(path)) from error
        remedy = "Choose one with --split, or split="
        fact = f"{path} has several splits"
        raise InputError(fact, received=split, accepted=error.accepted, remedy=remedy) from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""The lines of a UTF-8 file with their numbers from 1. Lines end with LF or CRLF; a byte order mark is ignored.

    Other line separators of Unicode, at which `str.splitlines` would split, occur within tokens.

    Raises:
        DataError: The file is not UTF-8 or cannot be read; the error names it.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8", remedy=str(error)) from error
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read", remedy=str(error)) from error


class UniqueIds:
    """Makes ids unique: the second `7` becomes `7#2`, which is reported."""

    def __init__(self, findings: OddityLog) -> None:
        self._findings = findings
        self._counts: dict[str, int] = {}
        self._given: set[str] = set()

    def of(self, name: str, where: str) -> str:
        """An id that no earlier post has: `name` itself if it is free.

        Args:
            name: The id of the data set.
            where: File and line of the post.
        """
        unique = name
        while unique in self._given:
            self._counts[name] = self._counts.get(name, 1) + 1
            unique = f"{name}#{self._counts[name]}"
        self._given.add(unique)
        if unique != name:
            self._findings.add("duplicate_id", where, f"the id {name} occurs again and is read as {unique}")
        return unique
