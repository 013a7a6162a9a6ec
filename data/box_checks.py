"""What is odd about annotated boxes, whoever read them: outside of the image, without area, or in other units."""

from __future__ import annotations

from collections.abc import Iterator

from gmner.data.images import image_size
from gmner.data.post import Post
from gmner.data.report import Oddity
from gmner.signatures.boxes import Box
from gmner.signatures.errors import ImageError

_ROUNDING = 0.01
"""Pixels by which annotation tools overshoot an image when they round."""


def odd_box(box: Box, size: tuple[float, float] | None) -> Iterator[tuple[str, str]]:
    """What is odd about one box, as pairs of (kind, message).

    Args:
        box: Pixels of the original image.
        size: Width and height of the image in pixels; None: not known.

    Yields:
        `zero_area_box`; `box_outside_image`; or `relative_box`, where all coordinates are in 0..1 of an image of more
        than a pixel, so that they are shares of its width and height rather than pixels.
    """
    yield from _misplaced(box, size) if size is not None and min(size) >= 1 else ()
    if not box.area:
        yield "zero_area_box", f"the box {box.as_tuple()} has no area; kept"


def _misplaced(box: Box, size: tuple[float, float]) -> Iterator[tuple[str, str]]:
    width, height = size
    if max(-box.x1, -box.y1, box.x2 - width, box.y2 - height) > _ROUNDING:
        yield "box_outside_image", f"the box {box.as_tuple()} leaves the picture of {width:g} x {height:g} pixels; kept"
    elif box.area and max(box.as_tuple()) <= 1 < max(size):
        message = f"the box {box.as_tuple()} looks like shares of width and height in place of pixels; kept"
        yield "relative_box", message


def box_oddities(post: Post, where: str) -> list[Oddity]:
    """What is odd about the boxes of a post; of its image only the header is read.

    Args:
        post: The post. An image that is missing or broken is not an oddity of its boxes.
        where: Its place, for the oddities.
    """
    boxes = [(entity.span, box) for entity in post.gold for box in entity.boxes]
    if not boxes:
        return []
    try:
        size = None if post.image is None else image_size(post.image)
    except ImageError:
        size = None
    return [Oddity(kind, where, f"{span!r}: {message}") for span, box in boxes for kind, message in odd_box(box, size)]
