"""From the modes of Pillow to 8-bit RGB, and what a PNG says of its orientation."""

from __future__ import annotations

import io
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

_ORIENTATION = 0x0112
_MOST_CHUNKS, _LONGEST_EXIF = 100_000, 1 << 20


def to_rgb(picture: Image.Image) -> Image.Image:
    """A decoded picture as 8-bit RGB, a new object.

    Transparency is laid on white. Grey values of more than eight bits are scaled to 0..255: floats in 0..1 by 255;
    values in 0..255 as they are; values in 0..65535 (and sixteen-bit modes) by 1/257; others from their least to their
    greatest value. What is not a number counts as 0, infinities as the nearest finite value.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_to_bytes(picture)).convert("RGB")
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return picture.convert("RGB")


def _to_bytes(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Grey values of more than eight bits -> (height, width) uint8."""
    values: npt.NDArray[np.float32] = np.array(picture).astype(np.float32)
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    if not finite.all():
        values = np.nan_to_num(values, nan=min(max(low, 0.0), high), posinf=high, neginf=low)
    scale = _scale(picture.mode, low, high)
    if scale is None:
        values, scale = values - np.float32(low), 255 / (high - low) if high > low else 0.0
    return np.clip(np.round(values * np.float32(scale)), 0, 255).astype(np.uint8)


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
