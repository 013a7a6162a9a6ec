"""Images on their way to a model: opened once, and copied into a prompt only where a server reads it."""

from __future__ import annotations

import base64
import io
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import dspy
import xxhash
from PIL import Image
from pydantic import PrivateAttr

from gmner.data.files.atomic import encoded
from gmner.data.images.opening import open_image
from gmner.signatures.boxes import Size
from gmner.signatures.errors import ImageError, InputError

_NAMED: WeakValueDictionary[bytes, Image.Image] = WeakValueDictionary()
# By the digest of their pixels, which is their name.
_NAMING = threading.Lock()
_NAME = "image/x-gmner-name"
_ROWS = 256
# Rows of an image of which a copy is made at a time.


class PostPicture(dspy.Image):
    """An image that is open already, as DSPy takes it.

    Its address is written when it is asked for: it takes more memory than the image.

    Args:
        picture: Upright RGB; it must not be changed afterwards.
        size: (width, height) in pixels of the original, the frame of its boxes, where the image was scaled down.
    """

    _opened: Image.Image = PrivateAttr()
    _size: Size = PrivateAttr()

    def __init__(self, picture: Image.Image, size: Size | None = None) -> None:
        super().__init__("data:image/bmp;base64,")
        del self.__dict__["url"]  # see __getattr__
        self._opened, self._size = picture, size or picture.size

    def __getattr__(self, name: str) -> Any:
        return inline(self._whole(), raw=True) if name == "url" else super().__getattr__(name)

    def _whole(self) -> Image.Image:
        """The image in the size of the original: whoever keeps it keeps boxes in that frame beside it."""
        return self._opened if self._opened.size == self._size else self._opened.resize(self._size)

    @property
    def opened(self) -> Image.Image:
        """The picture."""
        return self._opened

    @property
    def size(self) -> Size:
        """(width, height) of the original in pixels: the frame of its boxes."""
        return self._size

    def format(self) -> list[dict[str, Any]]:
        """What DSPy puts into a prompt of its own, for a model that may be a served one."""
        return [{"type": "image_url", "image_url": {"url": inline(self._whole())}}]


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


def original_size(source: object, picture: Image.Image | None) -> Size | None:
    """(width, height) in pixels of the original of an image, the frame of its boxes; None: there is no image.

    Args:
        source: What `load_picture` was given.
        picture: What it made of it.
    """
    if isinstance(source, PostPicture):
        return source.size
    return None if picture is None else picture.size


def inline(picture: Image.Image, *, raw: bool = False) -> str:
    """An upright RGB picture as a data URI.

    Args:
        picture: The picture.
        raw: As BMP: written and read at once and large; else as PNG, for a server.
    """
    if not raw:
        return f"data:image/png;base64,{base64.b64encode(encoded(picture, quick=True)[0]).decode()}"
    stream = io.BytesIO()
    picture.save(stream, "BMP")
    return f"data:image/bmp;base64,{base64.b64encode(stream.getbuffer()).decode()}"


def named(picture: Image.Image) -> tuple[str, Image.Image]:
    """A data URI that holds a name instead of an upright RGB picture, for an engine of this process.

    Images of the same pixels have the same name, so that DSPy's cache knows them.

    Returns:
        The URI, and the image of that name, which the caller keeps as long as the name is to be known.
    """
    digest = xxhash.xxh3_128(repr(picture.size).encode())
    for top in range(0, picture.height, _ROWS):
        digest.update(picture.crop((0, top, picture.width, min(picture.height, top + _ROWS))).tobytes())
    with _NAMING:
        kept = _NAMED.setdefault(digest.digest(), picture)
    return f"data:{_NAME};base64,{base64.b64encode(digest.digest()).decode()}", kept


def picture_named(media_type: str, data: str) -> Image.Image | None:
    """The picture of a data URI that `named` made; None: another one made it.

    Args:
        media_type: Of the data URI.
        data: Its base64.

    Raises:
        ImageError: The image of this name is not kept any more.
    """
    if media_type != _NAME:
        return None
    with _NAMING, suppress(ValueError):
        if (picture := _NAMED.get(base64.b64decode(data))) is not None:
            return picture
    remedy = "Send the image itself: dspy.Image(picture)"
    raise ImageError("A request names an image that is not kept any more", received=data, remedy=remedy)
