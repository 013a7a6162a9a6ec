"""File access shared by the readers: listing folders, staying inside the root, reading lines, unique ids."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gmner.data.oddities import OddityLog
from gmner.signatures.errors import DataError, InputError


@dataclass(frozen=True, slots=True)
class FolderListing:
    """The regular files of a folder.

    Attributes:
        files: Name -> path.
        outside: The names of links that lead out of the roots: no reader opens them.
    """

    files: dict[str, str] = field(default_factory=dict)
    outside: frozenset[str] = frozenset()


def list_folder(folder: Path, roots: Sequence[Path]) -> FolderListing:
    """List a folder; pipes, devices and folders are left out.

    Args:
        folder: The folder; one that is missing has no files.
        roots: The folders that a link may lead into.

    Raises:
        InputError: The folder cannot be read.
        DataError: The folder is a link that leaves the roots.
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
    """Whether a path, all links followed, lies in one of the roots."""
    try:
        real = path.resolve()
        return any(real.is_relative_to(root.resolve()) for root in roots)
    except (OSError, RuntimeError):  # a ring of links
        return False


def split_file(folder: Path, split: str, root: Path, remedy: str) -> Path:
    """`<folder>/<split>.txt`.

    Raises:
        InputError: No such folder or split; the splits that exist are named.
        DataError: The file is a link that leaves `root`.
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
            accepted=", ".join(splits) or "none, because the folder is missing or empty",
            remedy=remedy,
        )
    return folder / name


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""The lines of a UTF-8 file with their numbers from 1; LF and CRLF end one, a byte order mark is left out.

    Only `\n` ends a line: tokens hold other signs that `str.splitlines` would break at.

    Raises:
        DataError: Not UTF-8, or not readable; the file is named.
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
    """Keeps posts of the same id apart: the second `7` becomes `7#2`, and that is reported."""

    def __init__(self, findings: OddityLog) -> None:
        self._findings = findings
        self._counts: dict[str, int] = {}
        self._given: set[str] = set()

    def of(self, name: str, where: str) -> str:
        """An id that no post before has: `name` itself where it is free.

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
