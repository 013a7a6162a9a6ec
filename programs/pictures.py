"""Pictures on their way to a model: opened once, written as little as possible."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import dspy
import xxhash
from PIL import Image
from pydantic import PrivateAttr

from gmner.data.files import encoded
from gmner.data.images import open_image
from gmner.signatures.errors import InputError

_WRITTEN: WeakValueDictionary[bytes, Image.Image] = WeakValueDictionary()
# A picture goes to a model of this process as text, as DSPy has it; reading it again would take longer than writing it.
# By the digest of that text, which is larger than the picture.


class PostPicture(dspy.Image):
    """A picture that is open already, as DSPy takes it."""

    _opened: Image.Image = PrivateAttr()

    def __init__(self, picture: Image.Image) -> None:
        """Take an upright RGB picture; it must not be changed afterwards."""
        super().__init__(inline(picture, raw=True))
        self._opened = picture

    @property
    def opened(self) -> Image.Image:
        """The picture."""
        return self._opened

    def format(self) -> list[dict[str, Any]]:
        """What DSPy puts into a prompt of its own, for a model that may be a served one."""
        return [{"type": "image_url", "image_url": {"url": inline(self._opened)}}]


def message_image(picture: Image.Image | None) -> dspy.Image | None:
    """An opened picture as DSPy takes it."""
    return None if picture is None else PostPicture(picture)


def load_picture(source: object) -> Image.Image | None:
    """A picture from a dspy.Image, a PIL image, a path or None.

    Raises:
        ImageError: Missing, broken or too large; a dspy.Image that holds an address is not fetched.
    """
    if source is None:
        return None
    if isinstance(source, PostPicture):
        return source.opened
    if isinstance(source, dspy.Image):
        return open_image(source.url)
    if isinstance(source, (Image.Image, str, Path, bytes)):
        return open_image(source)
    raise InputError("Not a picture", received=source, accepted="a path, a PIL image, a dspy.Image, bytes or None")


def inline(picture: Image.Image, *, raw: bool = False) -> str:
    """An upright RGB picture as a data URI.

    Args:
        picture: The picture.
        raw: As BMP: written and read at once and large, for a model in this process; else as PNG, for a server.
    """
    if not raw:
        return f"data:image/png;base64,{base64.b64encode(encoded(picture, quick=True)[0]).decode()}"
    stream = io.BytesIO()
    picture.save(stream, "BMP")
    data = base64.b64encode(stream.getvalue()).decode()
    _WRITTEN[_digest(data)] = picture
    return f"data:image/bmp;base64,{data}"


def written_here(data: str) -> Image.Image | None:
    """The picture that `inline` wrote as this base64 of a BMP, as long as somebody has it; None: it did not."""
    return _WRITTEN.get(_digest(data))


def _digest(data: str) -> bytes:
    return xxhash.xxh3_128_digest(data.encode())
