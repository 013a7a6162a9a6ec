"""`to_rgb`: converts an image of any mode to 8-bit RGB; `png_orientation`: reads the EXIF orientation of a PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

_ORIENTATION = 0x0112
_MAX_CHUNKS, _MAX_EXIF = 100_000, 1 << 20
_STRIP = 1 << 20
# Number of pixels to convert at once, which bounds the memory in addition to the image and its copy.


def to_rgb(picture: Image.Image) -> Image.Image:
    """Convert a decoded image to a new 8-bit RGB image.

    Transparent pixels are blended with white. Grey values of more than eight bits are scaled to 0..255: floats in 0..1
    by 255; values in 0..65535 and sixteen-bit modes by 1/257; values in 0..255 not at all. All other values are
    stretched from their minimum to their maximum. NaN is treated as 0, an infinity as the nearest finite value.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return _grey(picture)
    if picture.has_transparency_data or picture.mode == "LAB":
        return _on_white(picture)
    return picture.convert("RGB")


def _strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Split an image into horizontal strips: (first row, strip)."""
    width, height = picture.size
    rows = max(1, _STRIP // max(1, width))
    for top in range(0, height, rows):
        yield top, picture.crop((0, top, width, min(height, top + rows)))


def _on_white(picture: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", picture.size, "white")
    for top, strip in _strips(picture):
        if strip.mode == "LAB":
            canvas.paste(_from_lab(strip), (0, top))
            continue
        # Pillow can convert the premultiplied mode La only to LA.
        rgba = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
        canvas.paste(rgba, (0, top), rgba.getchannel("A"))
    return canvas


def _from_lab(picture: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    if converted is None:  # only with inPlace=True
        raise ValueError("LAB cannot be converted")
    return converted


def _grey(picture: Image.Image) -> Image.Image:
    """Convert grey values of more than eight bits to RGB."""
    low, high, finite = _range(picture)
    scale = _scale(picture.mode, low, high)
    canvas = Image.new("RGB", picture.size)
    for top, strip in _strips(picture):
        values = _values(strip)
        if not finite:
            values = np.nan_to_num(values, nan=min(max(low, 0.0), high), posinf=high, neginf=low)
        if scale is None:  # float64, because the difference of two float32 values can overflow
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
    """The minimum and maximum of the finite values, and whether all values are finite."""
    lows, highs, finite = [], [], True
    for _, strip in _strips(picture):
        values = _values(strip)
        is_finite = np.isfinite(values)
        finite = finite and bool(is_finite.all())
        if is_finite.any():
            lows.append(float(values.min(where=is_finite, initial=np.inf)))
            highs.append(float(values.max(where=is_finite, initial=-np.inf)))
    return (min(lows), max(highs), finite) if lows else (0.0, 0.0, finite)


def _scale(mode: str, low: float, high: float) -> float | None:
    """The factor for grey values; None if they are to be stretched from minimum to maximum."""
    if mode.startswith("I;16"):
        return 1 / 257
    if mode == "F" and 0 <= low and high <= 1:
        return 255.0
    if low < 0 or high > 65535:
        return None
    return 1.0 if high <= 255 else 1 / 257


def png_orientation(file: IO[bytes]) -> int:
    """Read the EXIF orientation of a PNG from its first `eXIf` chunk, also after the pixel data; 1 if there is none.

    Args:
        file: The file; its position is restored.
    """
    position = file.tell()
    try:
        file.seek(8)
        for _ in range(_MAX_CHUNKS):
            head = file.read(8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if len(head) < 8 or kind == b"IEND":
                return 1
            if kind == b"eXIf" and length <= _MAX_EXIF:
                exif = Image.Exif()
                exif.load(b"Exif\x00\x00" + file.read(length))
                value = exif.get(_ORIENTATION, 1)
                return value if isinstance(value, int) else 1
            file.seek(length + 4, io.SEEK_CUR)
        return 1
    finally:
        file.seek(position)
