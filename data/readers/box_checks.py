"""Checks of annotated boxes: outside the image, without area, or in relative coordinates."""

from __future__ import annotations

from collections.abc import Iterator

from gmner.data.images.opening import image_size
from gmner.data.oddities import Oddity
from gmner.data.post import Post
from gmner.signatures.boxes import Box
from gmner.signatures.errors import ImageError

_ROUNDING = 0.01
"""Pixels by which annotation tools overshoot an image when they round."""

_OVERSHOT = 1.5
"""Largest relative coordinate, in data whose boxes extend a little beyond the image."""


def odd_box(box: Box, size: tuple[float, float] | None) -> Iterator[tuple[str, str]]:
    """Find what is unusual about one box.

    Args:
        box: Pixels of the original image.
        size: Width and height of the image in pixels; None: not known.

    Yields:
        Pairs of (kind, message). The kinds are `zero_area_box`, `box_outside_image` and `relative_box`: the coordinates
        look like shares of width and height, because all are in 0..1 of an image of more than one pixel, or are up to
        1.5 and not whole numbers.
    """
    if _looks_relative(box, size):
        shares = "fractions of the image size instead of pixels; multiply it by the width and height of the image"
        yield "relative_box", f"the box {box.as_tuple()} looks like {shares} (the box is kept)"
    elif size is not None and min(size) >= 1:
        yield from _misplaced(box, size)
    if not box.area:
        yield "zero_area_box", f"the box {box.as_tuple()} has no area (the box is kept)"


def _misplaced(box: Box, size: tuple[float, float]) -> Iterator[tuple[str, str]]:
    width, height = size
    if max(-box.x1, -box.y1, box.x2 - width, box.y2 - height) > _ROUNDING:
        yield (
            "box_outside_image",
            f"the box {box.as_tuple()} extends beyond the image of {width:g} x {height:g} pixels (the box is kept)",
        )


def _looks_relative(box: Box, size: tuple[float, float] | None) -> bool:
    """Whether coordinates look like shares of width and height; the box may extend a little beyond the image."""
    values = box.as_tuple()
    if not box.area or (size is not None and min(size) < 1):
        return False
    fractions = any(value != int(value) for value in values)
    if size is None or max(size) > 2 * _OVERSHOT:
        return (fractions and max(values) <= _OVERSHOT and min(values) >= 1 - _OVERSHOT) or _in_unit(values, size)
    return _in_unit(values, size)


def _in_unit(values: tuple[float, ...], size: tuple[float, float] | None) -> bool:
    return size is not None and min(values) >= -_ROUNDING and max(values) <= 1 < max(size)


def box_oddities(post: Post, where: str) -> list[Oddity]:
    """Find what is unusual about the boxes of a post. Reads only the headers of its images.

    In addition to those of `odd_box`, there is the kind `no_such_image`: a box is in an image that the post does not
    have.

    Args:
        post: The post. If an image is missing or broken, its size is not checked.
        where: File and line of the post, for the oddities.
    """
    boxes = [(entity.span, box) for entity in post.gold for box in entity.boxes]
    sizes = {number: _size(post, number) for number in sorted({box.picture for _, box in boxes})}
    images = len(post.images)
    absent = [
        Oddity("no_such_image", where, f"{span!r}: a box is in image {box.picture} of {images} (the box is kept)")
        for span, box in boxes
        if box.picture > max(images, 1)
    ]
    return absent + [
        Oddity(kind, where, f"{span!r}: {message}")
        for span, box in boxes
        for kind, message in odd_box(box, sizes[box.picture])
    ]


def _size(post: Post, number: int) -> tuple[int, int] | None:
    """Size of an image of a post; None if there is none, or it cannot be read."""
    if number > len(post.images):
        return None
    try:
        return image_size(post.images[number - 1])
    except ImageError:
        return None
