"""Atomic writes of files and folders, and lossless writes of images."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO

from PIL import Image

from gmner.data.files.folders import recover_folder, replace_folder
from gmner.data.files.leftovers import clear_leftovers, draft_name
from gmner.data.files.outputs import is_stream
from gmner.data.images.opened_file import open_inside
from gmner.data.images.opening import load_object
from gmner.signatures.errors import ImageError

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_ORIENTATION = 0x0112


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`.

    The file written there replaces `path` when the block ends, and is deleted when the block raises. A symbolic link is
    followed: its target is replaced.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.with_name(draft_name())
    try:
        yield name
        name.replace(path)
    finally:
        name.unlink(missing_ok=True)


@contextmanager
def whole_text(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file with LF line ends that replaces `path` after it was written to disk completely.

    Devices and pipes are written to directly.
    """
    if is_stream(path):
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        return
    clear_leftovers(Path(os.path.realpath(path)).parent)
    with atomic_path(path) as name:
        with name.open("x", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder that replaces `path` when the block ends, and is deleted when the block raises.

    After a kill, `path` is either the old or the new folder, see `replace_folder`. A link at `path` is followed.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    clear_leftovers(path.parent)
    work = path.with_name(draft_name())
    try:
        new = work / "new"
        new.mkdir(parents=True)
        yield new
        replace_folder(new, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def merged_folder(path: Path) -> Iterator[Path]:
    """Yield a copy of a folder (or a new one) that replaces it by one rename when the block ends; see `whole_folder`.

    The files of the copy are hard links: replace them, do not write into them. If the folder contains the current
    working directory, new files are moved into it one by one instead, because a rename would leave the process in the
    old folder.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir() and Path.cwd().is_relative_to(path):
        clear_leftovers(path)
        work = path / draft_name()
        try:
            work.mkdir()
            yield work
            for file in sorted(file for file in work.rglob("*") if file.is_file()):
                (path / file.relative_to(work)).parent.mkdir(parents=True, exist_ok=True)
                file.replace(path / file.relative_to(work))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return
    with whole_folder(path) as new:
        if path.is_dir():
            shutil.copytree(path, new, symlinks=True, copy_function=_link, dirs_exist_ok=True)
        yield new


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # the file system does not support links
        shutil.copy2(source, target, follow_symlinks=False)


def write_picture(picture: Path | Image.Image, stem: Path, root: Path | None = None) -> Path:
    """Write an image losslessly: a file is copied byte for byte, a PIL image is encoded, see `encoded`.

    Args:
        picture: The image.
        stem: The target path without a suffix.
        root: The folder that a file must be in; None: any folder.

    Returns:
        `stem` with the suffix of the file, in lower case.

    Raises:
        ImageError: The file does not exist, or no lossless format supports the mode of the PIL image.
    """
    if isinstance(picture, Image.Image):
        data, suffix = encoded(picture)
        with atomic_path(stem.with_name(stem.name + suffix)) as name:
            name.write_bytes(data)
    elif os.path.isfile(picture):
        suffix = picture.suffix.lower()
        with atomic_path(stem.with_name(stem.name + suffix)) as name:
            _copy(picture, name, root)
    else:
        raise ImageError("An image is missing", received=str(picture))
    return stem.with_name(stem.name + suffix)


def add_picture(picture: Path | Image.Image, stem: Path, root: Path | None = None) -> Path:
    """Write an image without replacing another file.

    Args:
        picture: See `write_picture`.
        stem: The target path without a suffix. If another file has this name, part of the image hash is appended.
        root: See `write_picture`.

    Returns:
        The path of the file. An existing file with the same content is reused.

    Raises:
        ImageError: See `write_picture`.
    """
    source: Path | bytes
    if isinstance(picture, Image.Image):
        source, suffix = encoded(picture)
    elif os.path.isfile(picture):
        source, suffix = picture, picture.suffix.lower()
    else:
        raise ImageError("An image is missing", received=str(picture))
    path, digest = stem.with_name(stem.name + suffix), _digest(source, root)
    if os.path.lexists(path) and not _holds(path, digest):
        path = stem.with_name(f"{stem.name}_{digest[:16]}{suffix}")
        if os.path.lexists(path) and not _holds(path, digest):
            raise ImageError("An image cannot be written because another file has its name", received=str(path))
    if not os.path.lexists(path):
        with atomic_path(path) as name:
            _copy(source, name, root) if isinstance(source, Path) else name.write_bytes(source)
    return path


def _copy(picture: Path, name: Path, root: Path | None) -> None:
    """Copy a regular file, which is opened once so that it cannot be exchanged in between."""
    with _opened(picture, root) as file, name.open("wb") as copy:
        shutil.copyfileobj(file, copy)


def _holds(path: Path, digest: str) -> bool:
    return path.is_file() and _digest(path, None) == digest


def _digest(source: Path | bytes, root: Path | None) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with _opened(source, root) as stream:
        for chunk in iter(partial(stream.read, 1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _opened(picture: Path, root: Path | None) -> BinaryIO:
    try:
        return open_inside(Path(os.path.realpath(picture)), root)[0]
    except OSError as error:
        remedy = error.strerror or type(error).__name__
        raise ImageError("An image cannot be opened", received=str(picture), remedy=remedy) from error


def encoded(picture: Image.Image, *, quick: bool = False) -> tuple[bytes, str]:
    """Encode a PIL image as PNG, or as TIFF if PNG does not support its mode. Returns the bytes and the suffix.

    The EXIF orientation is kept, because boxes refer to the upright image.

    Args:
        picture: The image.
        quick: Use the fastest PNG compression; for images that are not stored.

    Raises:
        ImageError: The image is broken, or neither format supports its mode.
    """
    load_object(picture)
    name = "PNG" if picture.mode in _PNG_MODES else "TIFF"
    stream = io.BytesIO()
    try:
        # By default, PIL reuses the compression of the source file, which can be JPEG.
        options: dict[str, Any] = (
            {"compression": "tiff_adobe_deflate"} if name == "TIFF" else {"compress_level": 1 if quick else 6}
        )
        picture.save(stream, format=name, exif=_orientation(picture), **options)
    except (OSError, SyntaxError, ValueError, LookupError) as error:
        raise ImageError("An image cannot be written", received=picture.mode, remedy=str(error)) from error
    return stream.getvalue(), ".png" if name == "PNG" else ".tif"


def _orientation(picture: Image.Image) -> bytes:
    """An EXIF header that contains only the orientation of an image; empty if the image is upright."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError):
        return b""
    if not isinstance(value, int) or not 2 <= value <= 8:
        return b""
    header = Image.Exif()
    header[_ORIENTATION] = value
    return header.tobytes()
