"""`Box`, IoU, and `BoxFormat`: the coordinate conventions of model families."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from gmner.signatures.errors import InputError

Size = tuple[int, int]
_INF = math.inf
_WORDS = {
    "frame": ("normalized", "resized", "original"),
    "order": ("xyxy", "yxyx"),
    "form": ("integers", "floats"),
}
_POWERS = tuple(10**digits for digits in range(1, 7))


@dataclass(frozen=True, slots=True, repr=False)
class Box:
    """An axis-aligned box: xyxy, float pixels of the original image, origin at the top left.

    `repr` rounds coordinates to hundredths of a pixel; the attributes and files keep them unrounded.

    Attributes:
        picture: Number of the image of the post that the box is in, counted from 1. Boxes in different images are
            different, and their IoU is 0.

    Raises:
        InputError: A coordinate is not finite, corners are reversed, or `picture` is not an integer of at least 1.
            Corners are never swapped silently.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    picture: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Check the coordinates and the number of the image."""
        if type(self.picture) is not int or self.picture < 1:
            accepted = "an integer of at least 1: images are counted from 1"
            raise InputError("picture of a box is invalid", received=self.picture, accepted=accepted)
        x1, y1, x2, y2 = values = (self.x1, self.y1, self.x2, self.y2)
        # A fast path, because rewards create a box for each sampled box.
        if (
            type(x1) is type(y1) is type(x2) is type(y2) is float
            and -_INF < x1 <= x2 < _INF
            and -_INF < y1 <= y2 < _INF
        ):
            return
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            raise InputError("A box has a coordinate that is not a finite number", received=values)
        if x2 < x1 or y2 < y1:
            # Data in COCO format usually fails here, because x, y, width, height often looks like reversed corners.
            coco = min(values) >= 0 and x2 > 0 and y2 > 0
            remedy = (
                "If boxes are x, y, width, height, convert all of them to x, y, x + width, y + height" if coco else ""
            )
            raise InputError(
                "A box has reversed corners", received=values, accepted="x1 <= x2 and y1 <= y2", remedy=remedy
            )

    def __repr__(self) -> str:
        """The box with coordinates rounded for reading; with the number of its image if that is not the first one."""
        names = ("x1", "y1", "x2", "y2", *(("picture",) if self.picture > 1 else ()))
        return f"Box({', '.join(f'{name}={round(getattr(self, name), 2)}' for name in names)})"

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    def as_tuple(self) -> tuple[float, float, float, float]:
        """(x1, y1, x2, y2), float pixels of the original image, without the number of the image."""
        return (self.x1, self.y1, self.x2, self.y2)

    def iou(self, other: Box) -> float:
        """Intersection over union with another box in the same coordinates; see `iou`."""
        return iou(self, other)

    def inside(self, size: Size) -> bool:
        """Whether the box is inside an image of `size` (width, height) pixels."""
        return self.x1 >= 0 and self.y1 >= 0 and self.x2 <= size[0] and self.y2 <= size[1]


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes in the same coordinates.

    Returns:
        A float in 0..1: 1 for identical boxes (even if their area is zero), 0 for disjoint boxes and for boxes in
        different images of a post.
    """
    if a.x1 == b.x1 and a == b:
        return 1.0
    if a.picture != b.picture:
        return 0.0
    ax1, ay1, ax2, ay2, bx1, by1, bx2, by2 = a.x1, a.y1, a.x2, a.y2, b.x1, b.y1, b.x2, b.y2
    width = (ax2 if ax2 < bx2 else bx2) - (ax1 if ax1 > bx1 else bx1)
    height = (ay2 if ay2 < by2 else by2) - (ay1 if ay1 > by1 else by1)
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    return intersection / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection)


@dataclass(frozen=True, slots=True)
class BoxFormat:
    """The coordinate convention of a model family, which writes a box as four numbers.

    Args:
        frame: `normalized` (0..scale of the width and height of the image; scale 1000 for Qwen2-VL and Qwen3-VL),
            `resized` (pixels of the image after the processor's resize; Qwen2.5-VL), or
            `original` (pixels of the original image).
        scale: Largest coordinate of `normalized`; ignored otherwise. If the form is `floats`, the number of steps from
            0 to 1: with 1000, coordinates have three decimals.
        order: `xyxy` (x1, y1, x2, y2), or `yxyx` (y1, x1, y2, x2; Gemma 4).
        form: `integers`, or `floats` (0..1 of the width and height of the image; Kimi-VL).

    Raises:
        InputError: A value is unknown, the scale is not an integer from 1 to 1,000,000, or the form is `floats` and the
            frame is not `normalized` or the scale not a power of ten.

    Source: the conventions of the model families. Inside the library, a box is always xyxy in pixels of the original
    image.
    """

    frame: Literal["normalized", "resized", "original"] = "normalized"
    scale: int = 1000
    order: Literal["xyxy", "yxyx"] = "xyxy"
    form: Literal["integers", "floats"] = "integers"

    def __post_init__(self) -> None:
        """Check frame, scale, order and form."""
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                fact = f"{name} of a BoxFormat is unknown"
                raise InputError(fact, received=getattr(self, name), accepted=", ".join(words))
        if type(self.scale) is not int or not 1 <= self.scale <= 1_000_000:
            accepted = "an integer from 1 to 1,000,000"
            raise InputError("scale of a BoxFormat is invalid", received=self.scale, accepted=accepted)
        if self.form == "floats" and (self.frame != "normalized" or self.scale not in _POWERS):
            fact = "The form `floats` of a BoxFormat needs the frame `normalized` and a power of ten as scale"
            accepted = f"scale {', '.join(map(str, _POWERS))}"
            raise InputError(fact, received=(self.frame, self.scale), accepted=accepted)

    def describe(self) -> str:
        """Describe the four numbers of a box in one line for a prompt."""
        corners = "[x1, y1, x2, y2]" if self.order == "xyxy" else "[y1, x1, y2, x2]"
        if self.form == "floats":
            return f"{corners}, decimals, 0 to 1 of the picture's width and height"
        unit = {
            "normalized": f"0 to {self.scale} of the picture's width and height",
            "resized": "pixels of the picture",
            "original": "pixels of the picture",
        }[self.frame]
        return f"{corners}, integers, {unit}"

    def as_data(self) -> dict[str, str | int]:
        """The convention as JSON data; `order` and `form` only where they differ from the defaults.

        Files that were written before these two existed therefore compare equal.
        """
        more = {"order": (self.order, "xyxy"), "form": (self.form, "integers")}
        return {
            "frame": self.frame,
            "scale": self.scale,
            **{name: value for name, (value, default) in more.items() if value != default},
        }

    @property
    def step(self) -> float:
        """The smallest difference between two coordinates on the wire: 1 for integers, 1/scale for decimals."""
        return 1 if self.form == "integers" else 1 / self.scale

    def extent(self, size: Size, resized: Size | None = None) -> Size:
        """Largest (x, y) coordinate for an image of `size` (width, height) pixels, in steps of the form.

        On the wire this is the largest coordinate itself if the form is `integers`, and 1 if it is `floats`.

        Args:
            size: Width and height of the original image in pixels.
            resized: Width and height after the processor's resize; required if the frame is `resized`.

        Raises:
            InputError: The frame is `resized`, and `resized` is missing.
        """
        if self.frame == "normalized":
            return (self.scale, self.scale)
        if self.frame == "original":
            return size
        if resized is None:
            raise InputError(
                "The frame `resized` needs the size of the resized image", accepted="resized=(width, height)"
            )
        return resized

    def limits(self, size: Size, resized: Size | None = None) -> tuple[int, int, int, int]:
        """Largest value of each of the four numbers on the wire, in their order; see `extent`."""
        ex, ey = (1, 1) if self.form == "floats" else self.extent(size, resized)
        return (ex, ey, ex, ey) if self.order == "xyxy" else (ey, ex, ey, ex)

    def encode(self, box: Box, size: Size, resized: Size | None = None) -> tuple[float, float, float, float]:
        """Convert a box in pixels of the original image to four numbers in this convention, clipped to the image.

        Returns:
            Four `int`, or, if the form is `floats`, four `float` that are rounded to the steps of the scale.
        """
        ex, ey = self.extent(size, resized)
        x1, x2 = (min(max(round(x / size[0] * ex), 0), ex) for x in (box.x1, box.x2))
        y1, y2 = (min(max(round(y / size[1] * ey), 0), ey) for y in (box.y1, box.y2))
        corners = (x1, y1, x2, y2) if self.order == "xyxy" else (y1, x1, y2, x2)
        if self.form == "integers":
            return corners
        a, b, c, d = (step / self.scale for step in corners)
        return (a, b, c, d)

    def decode(self, wire: Sequence[float], size: Size, resized: Size | None = None) -> Box:
        """Convert four numbers in this convention to a box in float pixels of the original image.

        Raises:
            InputError: The numbers are not four finite coordinates in range, or corners are reversed.
        """
        ex, ey = (1, 1) if self.form == "floats" else self.extent(size, resized)
        x1, y1, x2, y2 = wire if len(wire) == 4 else (-1,) * 4
        if self.order == "yxyx":
            x1, y1, x2, y2 = y1, x1, y2, x2
        if not (0 <= x1 <= ex and 0 <= y1 <= ey and 0 <= x2 <= ex and 0 <= y2 <= ey):
            accepted = f"0..{ex} and 0..{ey}" if self.order == "xyxy" else f"0..{ey} and 0..{ex}"
            raise InputError("A box has coordinates out of range", received=list(wire), accepted=accepted)
        return Box(x1 / ex * size[0], y1 / ey * size[1], x2 / ex * size[0], y2 / ey * size[1])
