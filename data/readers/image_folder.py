"""`Pictures`: finds the images of a data set by name, and reports those that are missing."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gmner.data.oddities import MissingImages, OddityLog
from gmner.data.readers.sources import list_folder, stays_inside
from gmner.signatures.errors import DataError, InputError

Folders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# What could leave the folder: a part that is empty or only dots, a backslash, a control character, a drive, a scheme.
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f:]|(?:^|/)\.*(?:/|$)")


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The images of one folder by file name and by name without suffix, and links to places outside the roots."""

    names: dict[str, str]
    stems: dict[str, str]
    outside: frozenset[str]

    def find(self, name: str) -> str | None:
        return self.names.get(name) or self.stems.get(name) or self.stems.get(without_suffix(name))


class Pictures:
    """Finds the images of a data set by file name, or by id with any suffix of an image.

    A name matches the file with exactly this name, or else a file that differs only in its suffix (`.JPG`, `.jpeg`,
    `.png`). Names are looked up in listings and never opened, so that no name can lead out of the folders.

    Args:
        folders: The folders to search, in this order.
        roots: The folders that links may point into.
        findings: Records what is missing or refused, with its location.
        missing: What a missing image is: `warn`, an oddity of kind `missing_image`, or `error`, a `DataError`.

    Raises:
        InputError: `missing` has another value.
    """

    def __init__(
        self, folders: Sequence[Path], roots: Sequence[Path], findings: OddityLog, missing: MissingImages
    ) -> None:
        if missing not in ("warn", "error"):
            raise InputError("missing_images must be 'warn' or 'error'", received=missing)
        self._folders, self._roots = list(folders), list(roots)
        self._findings, self._strict = findings, missing == "error"
        self._shelves: dict[tuple[Path, str], _Shelf] = {}

    def find(self, names: Sequence[str], post: str, where: str) -> Path | None:
        """The image of a post; None if it is missing, which is reported.

        Args:
            names: File name or id, and alternatives; `/` separates subfolders of the image folders.
            post: The post's id, for the oddities.
            where: File and line of the post, for the oddities.

        Raises:
            DataError: A name is not a valid file name, or an image is missing with `missing="error"`.
        """
        for name in filter(_UNSAFE.search, names):
            raise DataError(f"{where}: the name of an image is not a valid file name", received=name)
        for folder in self._folders:
            for name in names:
                path, refused = self._look(folder, name)
                if path is not None:
                    return Path(path)
                if refused:
                    fact = f"the image {name} of post {post} is a link that leads outside {folder}"
                    self._report("link_outside", fact, where, post)
                    return None
        if self._folders or self._strict:
            self._report("missing_image", f"post {post} has no image {names[0]} in {self._places()}", where, post)
        return None

    def _look(self, folder: Path, name: str) -> tuple[str | None, bool]:
        """The path of a name in a folder, and whether the name is a link to a place outside the roots."""
        parent, _, last = name.rpartition("/")
        shelf = self._shelves.get((folder, parent))
        if shelf is None:
            shelf = self._shelves[folder, parent] = _shelve(folder / parent, self._roots)
        return shelf.find(last), last in shelf.outside

    def _report(self, kind: str, fact: str, where: str, post: str) -> None:
        if self._strict:
            raise DataError(f"{where}: {fact}", remedy="Pass the image folders, or missing_images='warn'")
        message = f"{fact}; the post is read without it"
        self._findings.add(kind, where, message, post=post, quiet=kind == "missing_image")

    def _places(self) -> str:
        return ", ".join(map(str, self._folders)) or "any folder, because no image folder was found"


def find_pictures(
    root: Path, images: Folders | None, known: Sequence[str], findings: OddityLog, missing: MissingImages
) -> Pictures:
    """The images of a data set under `root`.

    Args:
        root: The folder of the data set.
        images: One or several folders; None: those of `known` that exist under `root`.
        known: Names of folders under `root`.
        findings: Records what is unusual; without any folder, one oddity of kind `no_image_folder`.
        missing: See `Pictures`.

    Raises:
        InputError: `images` is not a folder, or `missing` has another value.
    """
    folders = list(_known(root, known, findings)) if images is None else given_folders(images)
    if not folders:
        message = f"none of the image folders {', '.join(known)} exists; all posts are read without an image"
        findings.add("no_image_folder", str(root), message, level=logging.INFO)
    return Pictures(folders, [root, *folders], findings, missing)


def given_folders(images: Folders) -> list[Path]:
    """The image folders that a caller names.

    Raises:
        InputError: One of them does not exist, or there are none.
    """
    folders = [Path(images)] if isinstance(images, (str, os.PathLike)) else [Path(folder) for folder in images]
    for folder in folders:
        if not folder.is_dir():
            raise InputError("The image folder does not exist", received=str(folder))
    if not folders:
        raise InputError("images must name at least one folder", received=images, accepted="a folder, a list, or None")
    return folders


def _known(root: Path, names: Sequence[str], findings: OddityLog) -> Iterator[Path]:
    for folder in (root / name for name in names):
        if not folder.is_dir():
            continue
        if stays_inside(folder, [root]):
            yield folder
        else:
            findings.add(
                "link_outside",
                str(folder),
                "a link that leads outside the root is not followed; pass its target as `images`",
            )


def _shelve(folder: Path, roots: Sequence[Path]) -> _Shelf:
    listing = list_folder(folder, roots)
    names = {name: path for name, path in listing.files.items() if _suffix(name).lower() in _SUFFIXES}
    stems: dict[str, str] = {}
    for name in sorted(names, key=_rank, reverse=True):
        stems[without_suffix(name)] = names[name]
    links = {*listing.outside, *map(without_suffix, listing.outside)}
    return _Shelf(names, stems, frozenset(links))


def _rank(name: str) -> tuple[int, str]:
    return _SUFFIXES.index(_suffix(name).lower()), name.swapcase()


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1]


def without_suffix(name: str) -> str:
    """The name of an image file without its suffix; any other name, such as an id with a dot, is not changed."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in _SUFFIXES else name
