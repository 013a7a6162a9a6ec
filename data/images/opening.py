"""`open_image`: opens the image of an untrusted post as upright RGB, from a local source and within size limits."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError, features

from gmner.data.images.budget import DECODING
from gmner.data.images.decoding import check_decoding, decoding_bytes, reduce_while_decoding, scaled_size
from gmner.data.images.opened_file import open_inside
from gmner.data.images.pixels import png_orientation, to_rgb
from gmner.data.images.trimming import LARGE, trim
from gmner.signatures.boxes import Size
from gmner.signatures.errors import ImageError

ImageSource = str | os.PathLike[str] | bytes | Image.Image

MAX_PIXELS = 64_000_000
MAX_BYTES = 64 * 1024 * 1024
"""Limits of an image: number of pixels, and size of the file in bytes."""

# Decoders that start external programs (EPS: Ghostscript) or that no post needs are disabled. The JPEG decoder reads
# the first image of an MPO file; Pillow has no decoder named MPO, and requesting it raises KeyError.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", *(("AVIF",) if features.check("avif") else ()))
_PROGRAMS = ("EPS", "WMF")
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    AssertionError,
    AttributeError,
    struct.error,
    zlib.error,
)
_LOADING = threading.RLock()
"""Held while an image object of the caller is read from its file, because Pillow itself does not lock."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(
    source: ImageSource,
    *,
    root: str | os.PathLike[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Image.Image:
    """Open an image as upright 8-bit RGB.

    The EXIF orientation is applied, because annotators and readers see the upright image. All boxes of the library are
    in pixels of this upright image. The images of Twitter-GMNER have no EXIF data, so their boxes use the same
    coordinates. Transparent pixels are blended with white, and only the first frame of an animation is used. Grey
    values of more than eight bits are scaled, see `gmner.data.images.pixels.to_rgb`.

    A PIL image of the caller is decoded once, under a lock, and neither closed nor modified. Threads wait if decoding
    their images at the same time would take more than 512 MiB.

    Args:
        source: A local path, the bytes of a file, a `data:` URI, or a PIL image.
        root: The folder that paths are relative to and must stay inside, with symbolic links resolved.
        max_pixels: Maximum number of pixels, checked before the image is decoded.
        max_bytes: Maximum size of the encoded image in bytes.

    Raises:
        ImageError: The image is missing, broken, truncated, too large, outside `root`, a URL, or not an image; or
            decoding takes more than `gmner.data.images.decoding.MAX_DECODED` bytes.
    """
    with _opened(source, root, max_pixels, max_bytes) as picture:
        return _decoded(picture, source, picture.size)


class Scaled(NamedTuple):
    """An image that is prepared for a model.

    Attributes:
        picture: Upright 8-bit RGB, possibly scaled down.
        size: (width, height) of the upright original in pixels, to which its boxes refer.
    """

    picture: Image.Image
    size: Size


def open_scaled(source: ImageSource, used: int | None = None, *, root: str | os.PathLike[str] | None = None) -> Scaled:
    """Open an image for a model, and scale it down if it is much larger than the model needs.

    A JPEG is decoded at a fraction of its size if that suffices.

    Args:
        source: See `open_image`.
        used: Maximum number of pixels to which the model's processor resizes an image, see
            `gmner.data.images.decoding.scaled_size`; None: unknown.
        root: See `open_image`.

    Raises:
        ImageError: See `open_image`.
    """
    with _opened(source, root, MAX_PIXELS, MAX_BYTES) as picture:
        size = _upright_size(picture, source)
        return Scaled(_decoded(picture, source, scaled_size(picture.size, used)), size)


def _decoded(picture: Image.Image, source: ImageSource, size: Size) -> Image.Image:
    """Decode an opened image as upright RGB, scaled down to `size` (before it is turned upright) if that is smaller."""
    own, needed = picture is not source, decoding_bytes(picture)
    with _broken_as_image_error(source), DECODING.holding(needed), _trimmed(needed):
        if own:
            reduce_while_decoding(picture, size)
        with nullcontext() if own else _LOADING:
            picture.load()
            orientation = _orientation(picture)
        rgb = to_rgb(picture)
        if own:
            picture.close()  # frees its memory before more is allocated
        if rgb.width > size[0] or rgb.height > size[1]:
            rgb.thumbnail(size, Image.Resampling.BICUBIC)
        return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


@contextmanager
def _trimmed(needed: int) -> Iterator[None]:
    """Return the memory of a large image to the system before other threads continue."""
    try:
        yield
    finally:
        if needed >= LARGE:
            trim()


def image_size(
    source: ImageSource, *, root: str | os.PathLike[str] | None = None, max_pixels: int = MAX_PIXELS
) -> Size:
    """Width and height in pixels of the upright image, read from the header only.

    Args:
        source: See `open_image`.
        root: See `open_image`.
        max_pixels: See `open_image`.

    Raises:
        ImageError: See `open_image`; errors that only decoding reveals are not detected.
    """
    with _opened(source, root, max_pixels, MAX_BYTES) as picture:
        return _upright_size(picture, source)


def _upright_size(picture: Image.Image, source: ImageSource) -> Size:
    width, height = picture.size
    with _LOADING if picture is source else nullcontext():
        return (height, width) if _orientation(picture) >= 5 else (width, height)


class _LazyBytes(io.BytesIO):
    """The encoded image of `open_lazily`; it is decoded on each use, so that a post does not keep decoded pixels."""


def open_lazily(data: bytes) -> Image.Image:
    """Open an image without decoding it.

    `open_image` decodes a copy, so the images of many posts only take the memory of their encoded bytes.

    Args:
        data: The bytes of a file.

    Raises:
        ImageError: See `image_size`.
    """
    image_size(data)
    return _header(_LazyBytes(data), data, MAX_PIXELS)


def load_object(picture: Image.Image) -> None:
    """Decode a PIL image of the caller if it is not decoded yet. Thread-safe.

    Raises:
        ImageError: Its file is closed, broken or truncated, or its format needs an external program.
    """
    with _opened(picture, None, MAX_PIXELS, MAX_BYTES), _broken_as_image_error(picture), _LOADING:
        picture.load()


def local_path(source: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Path:
    """Resolve the path of an image.

    Raises:
        ImageError: The source is a URL, cannot be resolved, or is outside `root`.
    """
    text = os.fspath(source)
    if "://" in text:
        raise ImageError(
            "An image must not be a URL",
            received=text,
            accepted="a local path",
            remedy="Download it with `gmner fetch`, or use GMNER(fetch=True)",
        )
    try:
        path = Path(text).resolve() if root is None else (Path(root) / text).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError("The path of an image cannot be resolved", received=text, remedy=str(error)) from error
    if root is not None and not path.is_relative_to(Path(root).resolve()):
        raise ImageError("An image is outside the image folder", received=text, accepted=f"a path inside {Path(root)}")
    return path


@contextmanager
def _opened(source: ImageSource, root: Any, max_pixels: int, max_bytes: int) -> Iterator[Image.Image]:
    """Open an image and check its header; close it afterwards unless it is a PIL image of the caller."""
    file = getattr(source, "fp", None)
    source = file.getvalue() if isinstance(file, _LazyBytes) and not file.closed else source
    if isinstance(source, Image.Image):
        if source.format in _PROGRAMS:
            raise ImageError("The image format needs an external program", received=source.format,
                             accepted=", ".join(_FORMATS))  # fmt: skip
        _check_pixels(source.size, max_pixels)
        check_decoding(source)
        yield source
        return
    with _stream(source, root, max_bytes) as stream, _header(stream, source, max_pixels) as picture:
        _check_pixels(picture.size, max_pixels)
        check_decoding(picture)
        yield picture


def _header(stream: Any, source: ImageSource, max_pixels: int) -> Image.Image:
    with _broken_as_image_error(source):
        try:
            return Image.open(stream, formats=_FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError(
                f"An image is too large: {_name(source)}",
                received=_size_in(error),
                accepted=f"at most {max_pixels:,} pixels",
                remedy="Scale it down",
            ) from error
        except UnidentifiedImageError as error:
            raise ImageError(
                "The file is not an image, or it is broken or truncated",
                received=_name(source),
                accepted=", ".join(_FORMATS),
            ) from error


def _size_in(error: Exception) -> str:
    """The number of pixels in an error message of Pillow."""
    number = re.search(r"\d+ pixels", str(error))
    return number[0] if number else str(error)


def _check_pixels(size: Size, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ImageError(
            f"An image of {size[0]} x {size[1]} pixels is too large",
            received=size[0] * size[1],
            accepted=f"at most {max_pixels:,} pixels",
            remedy="Scale it down, or increase max_pixels",
        )
    if min(size) < 1:
        raise ImageError("An image has no pixels", received=size)


def _stream(source: ImageSource, root: Any, max_bytes: int) -> Any:
    if isinstance(source, bytes):
        return io.BytesIO(_bounded(source, max_bytes))
    if isinstance(source, str) and source[:5].lower() == "data:":
        return io.BytesIO(_bounded(_data_uri(source, max_bytes), max_bytes))
    if isinstance(source, (str, os.PathLike)):
        return _open_file(source, root, max_bytes)
    remedy = "Pass several images as images=[...]" if isinstance(source, (list, tuple)) else ""
    accepted = "a local path, bytes, a data: URI or a PIL image"
    raise ImageError("Not an image", received=source, accepted=accepted, remedy=remedy)


def _open_file(source: str | os.PathLike[str], root: Any, max_bytes: int) -> Any:
    path = local_path(source, root)
    try:
        file, size = open_inside(path, None if root is None else Path(root))
    except FileNotFoundError as error:
        raise ImageError("An image is missing", received=str(path)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ImageError("An image cannot be opened", received=str(path), remedy=reason) from error
    try:
        _check_bytes(size, max_bytes)
    except ImageError:
        file.close()
        raise
    return file


def _bounded(data: bytes, max_bytes: int) -> bytes:
    _check_bytes(len(data), max_bytes)
    return data


def _check_bytes(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ImageError("The image file is too large", received=size, accepted=f"at most {max_bytes:,} bytes")


def _data_uri(uri: str, max_bytes: int) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise ImageError("A data URI must be base64", received=head, accepted="data:image/...;base64,...")
    _check_bytes(len(body) * 3 // 4 - 2, max_bytes)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError("A data URI contains invalid base64", received=head, remedy=str(error)) from error


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1..8, read without decoding; 1 if unknown."""
    if picture.format == "TIFF":  # Pillow applies the orientation itself
        return 1
    try:
        # Pillow would decode the whole PNG to find an EXIF chunk after the pixel data.
        file = getattr(picture, "fp", None) if picture.format == "PNG" and "exif" not in picture.info else None
        value = picture.getexif().get(_ORIENTATION, 1) if file is None else png_orientation(file)
    except _BROKEN:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def _broken_as_image_error(source: ImageSource) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise ImageError("An image is broken or truncated", received=_name(source), remedy=str(error)) from error


def _name(source: ImageSource) -> str:
    if isinstance(source, Image.Image):
        return f"a PIL image {source.size}"
    if isinstance(source, bytes):
        return f"{len(source)} bytes"
    name = os.fspath(source)
    if len(name) <= 150:
        return name
    # Keep the beginning of a data URI, but the end of a path, which names the file.
    return f"{name[:80]}…" if name.startswith("data:") else f"…{name[-149:]}"
