"""Parts of a page: the text split at its entities, boxes scaled to a drawing, images as data URIs."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from PIL import Image

from gmner.data.images.opening import ImageSource, open_image
from gmner.data.pages.scripts import short_name
from gmner.signatures.boxes import Box, Size
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import Mention

DIFFERS = "Δ"
"""The mark of an entity that another answer beside it has differently, or not at all."""

LONG_SIDE = 480
"""Longest side of an inlined image in pixels, and of a drawing in its own units."""

_NAME_HEIGHT, _LETTER_WIDTH = 27.0, 11.0  # of a name in units of a drawing that is 290 pixels wide
# White on each has a contrast of at least 4.5.
_COLOURS = ("#2f6fde", "#1c8348", "#b95216", "#8a4fc9", "#b8336a", "#0d7b86", "#8a6d0b", "#6b7280")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text.

    Attributes:
        text: The characters.
        type: The type of its entity (of the first one if several overlap), or None.
        label: The types of the entities that end here, as a label.
        link: The keys of its entities, see `link`.
    """

    text: str
    type: str | None = None
    label: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Rect:
    """A box in a drawing, in units of the drawing, see `drawing_size`.

    Attributes:
        x: Left.
        y: Top.
        width: Width.
        height: Height.
        type: Type of the entity.
        title: Words of the entity; behind `DIFFERS` if it differs.
        name_at: Where its name is drawn: share of width and height of the drawing, 0 to 1, of a corner of the name.
        name_above: Whether this is a lower corner of the name, otherwise an upper one.
        name_at_right: Whether this is a right corner, because there is not enough space to the right.
        link: The key of its mention, see `link`.
        differs: Whether another answer has the entity differently, or not at all.
    """

    x: float
    y: float
    width: float
    height: float
    type: str
    title: str
    name_at: tuple[float, float] = (0.0, 0.0)
    name_above: bool = False
    name_at_right: bool = False
    link: str = ""
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """An image for a page.

    Attributes:
        uri: A `data:` URI.
        size: Width and height of the original image in pixels, to which its boxes refer.
        drawing: Width and height of its drawing, see `drawing_size`.
    """

    uri: str
    size: Size
    drawing: Size

    @property
    def name(self) -> str:
        """An id that is unique in a notebook, so that several drawings can share the image."""
        return f"gm-{hashlib.sha256(self.uri.encode()).hexdigest()[:16]}"


def colours(types: Iterable[str]) -> dict[str, str]:
    """A CSS colour for each type; the colours of the four types of Twitter-GMNER are fixed."""
    names = list(dict.fromkeys([*COARSE.names, *sorted(types)]))
    return {name: _COLOURS[min(index, len(_COLOURS) - 1)] for index, name in enumerate(names)}


def link(mention: Mention) -> str:
    """A key that links the words, boxes and row of a mention on a page; empty if the mention is not in the text."""
    return f"{mention.start}-{mention.end}" if mention.start >= 0 else ""


def segments(text: str, mentions: Sequence[Mention]) -> list[Segment]:
    """Split a text at the ends of its mentions; the joined segments are the text.

    Mentions may overlap. Mentions that are not in the text (-1, -1) are left out.
    """
    placed = [mention for mention in mentions if 0 <= mention.start < mention.end <= len(text)]
    cuts = sorted({0, len(text), *(cut for mention in placed for cut in mention.key)})
    result = []
    for start, end in pairwise(cuts):
        over = [mention for mention in placed if mention.start <= start and end <= mention.end]
        if not over:
            result.append(Segment(text[start:end]))
            continue
        label = "/".join(dict.fromkeys(mention.type for mention in placed if mention.end == end))
        links = " ".join(dict.fromkeys(link(mention) for mention in over))
        result.append(Segment(text[start:end], over[0].type, label, links))
    return result


def drawing_size(size: Size) -> Size:
    """Width and height of the drawing of an image of `size` pixels; its longest side has `LONG_SIDE` units.

    Lines and letters use these units, so that they look alike on small and large images.
    """
    scale = LONG_SIDE / max(size)
    return (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))


def rects(boxes: Iterable[tuple[Mention, Box]], picture: Picture, differing: Container[Mention] = ()) -> list[Rect]:
    """Convert boxes (pixels of the original image) to units of the drawing, clipped; small boxes come last, on top.

    A name is above its box if there is space, otherwise below it, otherwise in its upper corner.

    Args:
        boxes: The boxes in this image, each with its mention.
        picture: The image.
        differing: Mentions that another answer has differently, or not at all.
    """
    fx, fy = picture.drawing[0] / picture.size[0], picture.drawing[1] / picture.size[1]
    result = []
    for mention, box in boxes:
        xs = [min(max(x * fx, 0), picture.drawing[0]) for x in (box.x1, box.x2)]
        ys = [min(max(y * fy, 0), picture.drawing[1]) for y in (box.y1, box.y2)]
        x, y, width, height = (round(value, 1) for value in (xs[0], ys[0], xs[1] - xs[0], ys[1] - ys[0]))
        differs = mention in differing
        title = f"{DIFFERS} {mention.span}" if differs else mention.span
        result.append(Rect(x, y, width, height, mention.type, title, link=link(mention), differs=differs))
    taken: list[tuple[float, float, float]] = []
    return [_named(rect, picture.drawing, taken) for rect in sorted(result, key=lambda rect: -rect.width * rect.height)]


def _named(rect: Rect, drawing: Size, taken: list[tuple[float, float, float]]) -> Rect:
    """Place the name of a box where it covers no other name; `taken` has (left, right, top) of those."""
    at_right = rect.x > drawing[0] * 0.6
    length = _LETTER_WIDTH * len(short_name(rect.title)) + 2 * _LETTER_WIDTH
    left = max(rect.x + rect.width - length, 0.0) if at_right else rect.x
    above, below = rect.y - _NAME_HEIGHT, rect.y + rect.height
    tops = [top for top in (above, below) if 0 <= top <= drawing[1] - _NAME_HEIGHT]
    # Each of the others can stand in the way of two of these places.
    tops += [rect.y + step * _NAME_HEIGHT for step in range(2 * len(taken) + 1)]
    top = next(top for top in tops if not any(_meets(left, left + length, top, other) for other in taken))
    taken.append((left, left + length, top))
    is_above = top == above
    x, y = rect.x + rect.width if at_right else rect.x, rect.y if is_above else top
    place = round(x / drawing[0], 4), round(y / drawing[1], 4)
    return replace(rect, name_at=place, name_above=is_above, name_at_right=at_right)


def _meets(left: float, right: float, top: float, other: tuple[float, float, float]) -> bool:
    return left < other[1] and other[0] < right and abs(top - other[2]) < _NAME_HEIGHT


def picture_for_page(image: ImageSource | None, side: int = LONG_SIDE) -> Picture | None:
    """Scale an image down and encode it as a data URI; None stays None.

    Args:
        image: The image.
        side: Longest side of the encoded image in pixels.

    Raises:
        ImageError: See `open_image`.
    """
    if image is None:
        return None
    rgb = open_image(image)
    size = rgb.size
    rgb.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Small images are usually drawings, and PNG is small enough for them.
    kind = "png" if max(rgb.size) <= LONG_SIDE // 2 else "jpeg"
    rgb.save(buffer, format=kind, optimize=True, **({} if kind == "png" else {"quality": 82}))
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/{kind};base64,{encoded}", size, drawing_size(size))


def colour_of(palette: Mapping[str, str], name: str | None) -> str:
    """The colour of a type; grey if unknown."""
    return palette.get(name or "", _COLOURS[-1])
