"""Estimates the memory for decoding an image from its header, and how far an image may be scaled down."""

from __future__ import annotations

from typing import Any

from PIL import Image

from gmner.signatures.boxes import Size
from gmner.signatures.errors import ImageError

MAX_DECODED = 512 * 2**20
"""Most bytes that decoding and converting an image may take."""

MOST_PIXELS = 4096 * 4096
"""Most pixels of an image that is sent to a model; no processor of a supported family uses more."""

FEWEST_PIXELS = 1280 * 1280
"""Number of pixels up to which an image is never scaled down."""

_RGB = 4  # Pillow keeps three bytes as four
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
# A pixel in Pillow's other modes takes four.

_DECODER = {"WEBP": 14, "AVIF": 9, "TIFF": 4}
# Bytes a pixel that decoders take beside the image, measured: canvases, planes, a strip as large as the image.

_COEFFICIENTS = 2
# Bytes per coefficient of a progressive JPEG, all of which are kept until the last scan is read.


def decoding_bytes(picture: Image.Image) -> int:
    """The most bytes that decoding an image and converting it to upright RGB take at once.

    Args:
        picture: An image whose header was read.
    """
    width, height = picture.size
    stored = _BYTES.get(picture.mode, 4)
    decoding = stored + _DECODER.get(picture.format or "", 0)
    if picture.format in ("JPEG", "MPO") and picture.info.get("progressive"):
        decoding += _COEFFICIENTS * len(picture.getbands())
    return width * height * max(decoding, stored + _RGB, 2 * _RGB)


def check_decoding(picture: Image.Image) -> None:
    """Refuse an image that takes more than `MAX_DECODED` bytes to decode.

    Raises:
        ImageError: It does, with its figures.
    """
    needed = decoding_bytes(picture)
    if needed > MAX_DECODED:
        width, height = picture.size
        kind = " ".join(filter(None, (picture.format, picture.mode)))
        raise ImageError(
            f"An image of {width} x {height} pixels ({kind}) takes too much memory to decode",
            received=f"{needed:,} bytes",
            accepted=f"at most {MAX_DECODED:,} bytes",
            remedy="Make it smaller",
        )


def scaled_size(size: Size, used: int | None) -> Size:
    """(width, height) that an image is scaled down to on its way to a model.

    Twice the width and height that the processor uses are kept, so that its own resize has enough to choose from.

    Args:
        size: (width, height) of the image, pixels.
        used: Most pixels that the model's processor makes of an image; None: not known.
    """
    most = MOST_PIXELS if used is None else min(MOST_PIXELS, max(4 * used, FEWEST_PIXELS))
    pixels = size[0] * size[1]
    if pixels <= most:
        return size
    scale = (most / pixels) ** 0.5
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def reduce_while_decoding(picture: Any, size: Size) -> None:
    """Have a JPEG decoded at a half, a quarter or an eighth of its width and height, at least `size`.

    Args:
        picture: An image that was not decoded yet.
        size: (width, height) as the image is stored, before it is turned upright.
    """
    if picture.format in ("JPEG", "MPO") and size != picture.size:
        picture.draft(None, size)
