"""Parts of a view: a text cut at its entities, boxes scaled to a drawing, a picture as a data URI."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from PIL import Image

from gmner.data.images.opening import ImageSource, open_image
from gmner.signatures.boxes import Box, Size
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import Mention

LONG_SIDE = 480
"""Longest side of an inlined picture in pixels, and of every drawing in its own units."""

_NAME_WIDTH, _NAME_HEIGHT = 140, 24
_COLOURS = ("#2f6fde", "#1f9254", "#c2571a", "#8a4fc9", "#b8336a", "#0f8a96", "#8a6d0b", "#6b7280")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text.

    Attributes:
        text: The characters.
        type: The type of the entity that it belongs to (the first one where several overlap), or None.
        label: The types of the entities that end here, as a label.
        link: What it is linked by, see `link`; of several entities, all of theirs.
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
        title: Words of the entity.
        name_y: Base line of the name that is written into the box.
        name_at_right: Whether the name ends at the right side of the box: there is no room at its left.
        link: What it is linked by, see `link`.
    """

    x: float
    y: float
    width: float
    height: float
    type: str
    title: str
    name_y: float = 0.0
    name_at_right: bool = False
    link: str = ""

    @property
    def name_x(self) -> float:
        """Where the name starts, or ends at the right side."""
        return round(self.x + self.width - 7 if self.name_at_right else self.x + 7, 1)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for a page.

    Attributes:
        uri: A `data:` URI.
        size: Width and height of the original image in pixels: the frame of its boxes.
        drawing: Width and height of its drawing, see `drawing_size`.
    """

    uri: str
    size: Size
    drawing: Size

    @property
    def name(self) -> str:
        """A name that no other picture of a notebook has, for one drawing to use the picture of another."""
        return f"gm-{hashlib.sha256(self.uri.encode()).hexdigest()[:16]}"


def colours(types: Iterable[str]) -> dict[str, str]:
    """A CSS colour for each type; the four of Twitter-GMNER always have the same."""
    names = list(dict.fromkeys([*COARSE.names, *sorted(types)]))
    return {name: _COLOURS[min(index, len(_COLOURS) - 1)] for index, name in enumerate(names)}


def link(mention: Mention) -> str:
    """What the words, the boxes and the line of a mention have in common on a page; empty: it stands nowhere."""
    return f"{mention.start}-{mention.end}" if mention.start >= 0 else ""


def segments(text: str, mentions: Sequence[Mention]) -> list[Segment]:
    """Cut a text at the ends of its mentions; the segments joined are the text.

    Mentions that do not stand in the text (-1, -1) are left out; they may overlap.
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
    """Width and height of the drawing of a picture of `size` pixels: its longest side is `LONG_SIDE` units.

    Lines and letters are drawn in these units, so that they look alike on small and large pictures.
    """
    scale = LONG_SIDE / max(size)
    return (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))


def rects(boxes: Iterable[tuple[Mention, Box]], picture: Picture) -> list[Rect]:
    """Boxes (pixels of the original image) in units of a picture's drawing, clipped to it; small ones last, on top."""
    fx, fy = picture.drawing[0] / picture.size[0], picture.drawing[1] / picture.size[1]
    result = []
    for mention, box in boxes:
        xs = [min(max(x * fx, 0), picture.drawing[0]) for x in (box.x1, box.x2)]
        ys = [min(max(y * fy, 0), picture.drawing[1]) for y in (box.y1, box.y2)]
        x, y, width, height = (round(value, 1) for value in (xs[0], ys[0], xs[1] - xs[0], ys[1] - ys[0]))
        at_right = x > picture.drawing[0] * 0.6
        result.append(Rect(x, y, width, height, mention.type, mention.span, y + 23, at_right, link(mention)))
    return _without_collisions(sorted(result, key=lambda rect: -rect.width * rect.height))


def _without_collisions(boxes: Sequence[Rect]) -> list[Rect]:
    """Move a name down while it would be written over another one."""
    placed: list[Rect] = []
    for rect in boxes:
        near = [other for other in placed if abs(other.name_x - rect.name_x) < _NAME_WIDTH]
        while any(abs(other.name_y - rect.name_y) < _NAME_HEIGHT for other in near):
            rect = replace(rect, name_y=round(rect.name_y + _NAME_HEIGHT, 1))
        placed.append(rect)
    return placed


def picture_for_page(image: ImageSource | None) -> Picture | None:
    """A picture made small enough to be inlined; None stays None.

    Raises:
        ImageError: See `open_image`.
    """
    if image is None:
        return None
    rgb = open_image(image)
    size = rgb.size
    rgb.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Small pictures are drawings more often than photos, and cost little as they are.
    kind = "png" if max(rgb.size) <= LONG_SIDE // 2 else "jpeg"
    rgb.save(buffer, format=kind, optimize=True, **({} if kind == "png" else {"quality": 82}))
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/{kind};base64,{encoded}", size, drawing_size(size))


def colour_of(palette: Mapping[str, str], name: str | None) -> str:
    """The colour of a type, or grey."""
    return palette.get(name or "", _COLOURS[-1])
