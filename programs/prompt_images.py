"""Images in prompts: opened once, and encoded only for a server."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Mapping, Sequence
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
# The key is the digest of the pixels, which is the name of the image.
_NAMING = threading.Lock()
_NAME = "image/x-gmner-name"
_ROWS = 256
# Rows of an image that are copied at a time.


class PostPicture(dspy.Image):
    """An opened image as a `dspy.Image`.

    Its URL takes more memory than the image, so it is encoded only when it is read.

    Args:
        picture: Upright RGB image; it must not be changed afterwards.
        size: (width, height) in pixels of the original image, to which boxes refer; None: the image was not scaled.
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
        """The image in its original size, to which the boxes of a saved demonstration refer."""
        return self._opened if self._opened.size == self._size else self._opened.resize(self._size)

    @property
    def opened(self) -> Image.Image:
        """The image, possibly scaled down."""
        return self._opened

    @property
    def size(self) -> Size:
        """(width, height) in pixels of the original image, to which boxes refer."""
        return self._size

    def format(self) -> list[dict[str, Any]]:
        """The content that DSPy's own adapters put into a prompt, which may be sent to a server."""
        return [{"type": "image_url", "image_url": {"url": inline(self._whole())}}]


def load_picture(source: object) -> Image.Image | None:
    """Open an image from a dspy.Image, a PIL image, bytes, or a path; None stays None.

    Raises:
        ImageError: The image is missing, broken or too large, or a dspy.Image with a URL, which is not downloaded.
        InputError: The source has another type.
    """
    return None if source is None else opened_picture(source)


def opened_picture(source: object) -> Image.Image:
    """Open an image; see `load_picture`."""
    if isinstance(source, PostPicture):
        return source.opened
    if isinstance(source, dspy.Image):
        return open_image(source.url)
    if isinstance(source, (Image.Image, str, Path, bytes)):
        return open_image(source)
    accepted = "a path, a PIL image, a dspy.Image, bytes or None"
    raise InputError("An image cannot be opened from this value", received=source, accepted=accepted)


def picture_sources(inputs: Mapping[str, Any]) -> list[Any]:
    """The images of a post in the inputs of a signature, in order; None is left out.

    They are `image` and `more_images`, or `images`, as in an example whose images are the argument of a program.
    """
    sources = inputs.get("images") or [inputs.get("image"), *(inputs.get("more_images") or ())]
    return [source for source in sources if source is not None]


def picture_inputs(sources: Sequence[Any]) -> dict[str, Any]:
    """The inputs of a signature for the images of a post: `image`, and `more_images` if there are several."""
    first, *more = sources or (None,)
    return {"image": first, **({"more_images": more} if more else {})}


def original_size(source: object, picture: Image.Image | None) -> Size | None:
    """(width, height) in pixels of the original image, to which boxes refer; None: there is no image.

    Args:
        source: The argument of `load_picture`.
        picture: Its result.
    """
    if isinstance(source, PostPicture):
        return source.size
    return None if picture is None else picture.size


def inline(picture: Image.Image, *, raw: bool = False) -> str:
    """Encode an upright RGB image as a data URI.

    Args:
        picture: The image.
        raw: Encode as BMP, which is fast and large; False: as PNG, for a server.
    """
    if not raw:
        return f"data:image/png;base64,{base64.b64encode(encoded(picture, quick=True)[0]).decode()}"
    stream = io.BytesIO()
    picture.save(stream, "BMP")
    return f"data:image/bmp;base64,{base64.b64encode(stream.getbuffer()).decode()}"


def named(picture: Image.Image) -> tuple[str, Image.Image]:
    """Register an upright RGB image under a name and return a data URI with the name, for an engine of this process.

    The name is a digest of the pixels, so that DSPy's cache recognizes equal images.

    Returns:
        The URI, and the image of that name. The name is valid as long as the caller keeps a reference to the image.
    """
    digest = xxhash.xxh3_128(repr(picture.size).encode())
    for top in range(0, picture.height, _ROWS):
        digest.update(picture.crop((0, top, picture.width, min(picture.height, top + _ROWS))).tobytes())
    with _NAMING:
        registered = _NAMED.setdefault(digest.digest(), picture)
    return f"data:{_NAME};base64,{base64.b64encode(digest.digest()).decode()}", registered


def picture_named(media_type: str, data: str) -> Image.Image | None:
    """Look up the image of a data URI from `named`; None for any other data URI.

    Args:
        media_type: Media type of the data URI.
        data: Its base64 data.

    Raises:
        ImageError: The image of this name no longer exists.
    """
    if media_type != _NAME:
        return None
    with _NAMING, suppress(ValueError):
        if (picture := _NAMED.get(base64.b64decode(data))) is not None:
            return picture
    remedy = "Send the image itself: dspy.Image(picture)"
    raise ImageError("A request refers to an image that no longer exists", received=data, remedy=remedy)
