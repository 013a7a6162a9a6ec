"""`to_rgb`: converts the modes of Pillow to 8-bit RGB; and the EXIF orientation of a PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

_ORIENTATION = 0x0112
_MOST_CHUNKS, _LONGEST_EXIF = 100_000, 1 << 20
_PIECE = 1 << 20
# Pixels that are converted at a time: converting takes little memory beside the image and its copy.


def to_rgb(picture: Image.Image) -> Image.Image:
    """A decoded image as 8-bit RGB, a new object.

    Transparency is laid on white. Grey values of more than eight bits are scaled to 0..255: floats in 0..1 by 255;
    values in 0..255 as they are; values in 0..65535 (and sixteen-bit modes) by 1/257; others from their least to their
    greatest value. What is not a number counts as 0, infinities as the nearest finite value.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return _grey(picture)
    if picture.has_transparency_data or picture.mode == "LAB":
        return _laid_on_white(picture)
    return picture.convert("RGB")


def _pieces(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Rows of an image, some at a time: the number of the first, and an image of them."""
    width, height = picture.size
    rows = max(1, _PIECE // max(1, width))
    for top in range(0, height, rows):
        yield top, picture.crop((0, top, width, min(height, top + rows)))


def _laid_on_white(picture: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", picture.size, "white")
    for top, piece in _pieces(picture):
        if piece.mode == "LAB":
            canvas.paste(_from_lab(piece), (0, top))
            continue
        # Pillow converts a premultiplied La to LA only.
        rgba = (piece.convert("LA") if piece.mode == "La" else piece).convert("RGBA")
        canvas.paste(rgba, (0, top), rgba.getchannel("A"))
    return canvas


def _from_lab(picture: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    if converted is None:  # only where it converts in place
        raise ValueError("LAB cannot be converted")
    return converted


def _grey(picture: Image.Image) -> Image.Image:
    """Grey values of more than eight bits as RGB."""
    low, high, finite = _range(picture)
    scale = _scale(picture.mode, low, high)
    canvas = Image.new("RGB", picture.size)
    for top, piece in _pieces(picture):
        values = _values(piece)
        if not finite:
            values = np.nan_to_num(values, nan=min(max(low, 0.0), high), posinf=high, neginf=low)
        if scale is None:  # as doubles: the difference of two floats may be too large for a float
            stretch = 255 / (high - low) if high > low else 0.0
            bytes_ = np.round((values.astype(np.float64) - low) * stretch)
        else:
            bytes_ = np.round(values * np.float32(scale))
        canvas.paste(Image.fromarray(np.clip(bytes_, 0, 255).astype(np.uint8)).convert("RGB"), (0, top))
    return canvas


def _values(picture: Image.Image) -> npt.NDArray[np.float32]:
    """(height, width) float32."""
    return np.array(picture).astype(np.float32)


def _range(picture: Image.Image) -> tuple[float, float, bool]:
    """The least and the greatest finite value, and whether all are finite."""
    lows, highs, finite = [], [], True
    for _, piece in _pieces(picture):
        values = _values(piece)
        good = np.isfinite(values)
        finite = finite and bool(good.all())
        if good.any():
            lows.append(float(values.min(where=good, initial=np.inf)))
            highs.append(float(values.max(where=good, initial=-np.inf)))
    return (min(lows), max(highs), finite) if lows else (0.0, 0.0, finite)


def _scale(mode: str, low: float, high: float) -> float | None:
    """What grey values are multiplied by; None: they are stretched from the least to the greatest."""
    if mode.startswith("I;16"):
        return 1 / 257
    if mode == "F" and 0 <= low and high <= 1:
        return 255.0
    if low < 0 or high > 65535:
        return None
    return 1.0 if high <= 255 else 1 / 257


def png_orientation(file: IO[bytes]) -> int:
    """The EXIF orientation of a PNG, from the first `eXIf` chunk, wherever it stands; 1: it says nothing.

    Args:
        file: The file; its position is kept.
    """
    position = file.tell()
    try:
        file.seek(8)
        for _ in range(_MOST_CHUNKS):
            head = file.read(8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if len(head) < 8 or kind == b"IEND":
                return 1
            if kind == b"eXIf" and length <= _LONGEST_EXIF:
                exif = Image.Exif()
                exif.load(b"Exif\x00\x00" + file.read(length))
                value = exif.get(_ORIENTATION, 1)
                return value if isinstance(value, int) else 1
            file.seek(length + 4, io.SEEK_CUR)
        return 1
    finally:
        file.seek(position)
