"""Estimates the memory for decoding an image from its header, and computes the size to scale it down to."""

from __future__ import annotations

from typing import Any

from PIL import Image

from gmner.signatures.boxes import Size
from gmner.signatures.errors import ImageError

MAX_DECODED = 512 * 2**20
"""Maximum number of bytes for decoding and converting an image."""

MOST_PIXELS = 4096 * 4096
"""Maximum number of pixels of an image that is sent to a model; no supported model family uses more."""

FEWEST_PIXELS = 1280 * 1280
"""Images of at most this many pixels are never scaled down."""

_RGB = 4  # Pillow stores RGB in four bytes per pixel
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
# All other modes of Pillow take four bytes per pixel.

_DECODER = {"WEBP": 14, "AVIF": 9, "TIFF": 4}
# Bytes per pixel that the decoders allocate in addition to the image, measured.

_COEFFICIENTS = 2
# Bytes per coefficient of a progressive JPEG; the decoder keeps all of them until it has read the last scan.


def decoding_bytes(picture: Image.Image) -> int:
    """Estimate the peak memory for decoding an image and converting it to upright RGB, in bytes.

    Args:
        picture: An image that is opened but not decoded.
    """
    width, height = picture.size
    stored = _BYTES.get(picture.mode, 4)
    decoding = stored + _DECODER.get(picture.format or "", 0)
    if picture.format in ("JPEG", "MPO") and picture.info.get("progressive"):
        decoding += _COEFFICIENTS * len(picture.getbands())
    return width * height * max(decoding, stored + _RGB, 2 * _RGB)


def check_decoding(picture: Image.Image) -> None:
    """Check that an image takes at most `MAX_DECODED` bytes to decode.

    Raises:
        ImageError: It takes more.
    """
    needed = decoding_bytes(picture)
    if needed > MAX_DECODED:
        width, height = picture.size
        kind = " ".join(filter(None, (picture.format, picture.mode)))
        raise ImageError(
            f"An image of {width} x {height} pixels ({kind}) takes too much memory to decode",
            received=f"{needed:,} bytes",
            accepted=f"at most {MAX_DECODED:,} bytes",
            remedy="Scale it down",
        )


def scaled_size(size: Size, used: int | None) -> Size:
    """Compute the size to which an image is scaled down before it is sent to a model.

    The result keeps twice the width and height that the processor uses, but at most `MOST_PIXELS`, so that the
    processor's own resize keeps its quality.

    Args:
        size: (width, height) of the image in pixels.
        used: Maximum number of pixels to which the model's processor resizes an image; None: unknown.

    Returns:
        (width, height) in pixels.
    """
    limit = MOST_PIXELS if used is None else min(MOST_PIXELS, max(4 * used, FEWEST_PIXELS))
    pixels = size[0] * size[1]
    if pixels <= limit:
        return size
    scale = (limit / pixels) ** 0.5
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def reduce_while_decoding(picture: Any, size: Size) -> None:
    """Make Pillow decode a JPEG at 1/2, 1/4 or 1/8 of its width and height, but at least at `size`.

    Args:
        picture: An image that is not decoded yet.
        size: (width, height) of the stored image, before it is turned upright.
    """
    if picture.format in ("JPEG", "MPO") and size != picture.size:
        picture.draft(None, size)
