"""`Pen`: draws shaded shapes with outlines on a transparent canvas, in its own units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypedDict, Unpack

from PIL import Image, ImageChops, ImageDraw

from gmner.data.world.looks import RGB

Point = tuple[float, float]

INK: RGB = (36, 32, 44)
WHITE: RGB = (250, 250, 250)
_STEPS = 8


def shade(colour: RGB, factor: float) -> RGB:
    """Darken a colour (factor below 1) or mix it with white (above 1; 1.2 adds one fifth white)."""
    return mix(colour, WHITE, factor - 1) if factor > 1 else mix(colour, INK, 1 - factor)


def mix(colour: RGB, other: RGB, share: float) -> RGB:
    """Mix a colour with a share (0 to 1) of another one."""
    r, g, b = (round(a + (o - a) * share) for a, o in zip(colour, other, strict=True))
    return (r, g, b)


def is_light(colour: RGB) -> bool:
    """Whether white would have too little contrast on the colour."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 168


def smooth(points: Sequence[Point], *, closed: bool = True) -> list[Point]:
    """A Catmull-Rom spline through the points."""
    count = len(points)

    def at(i: int) -> Point:
        return points[i % count] if closed else points[min(max(i, 0), count - 1)]

    curve = [
        _between(at(i - 1), at(i), at(i + 1), at(i + 2), step / _STEPS)
        for i in range(count if closed else count - 1)
        for step in range(_STEPS)
    ]
    return curve if closed else [*curve, points[-1]]


def _between(a: Point, b: Point, c: Point, d: Point, t: float) -> Point:
    def along(p: float, q: float, r: float, s: float) -> float:
        return 0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t**2 + (3 * q - p - 3 * r + s) * t**3)

    return along(a[0], b[0], c[0], d[0]), along(a[1], b[1], c[1], d[1])


def oval(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> list[Point]:
    """Points of an ellipse around (x, y), or of an arc between two angles in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * i / 40) for i in range(41)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


@cache
def _light() -> Image.Image:
    """A 64 x 64 mask that decreases from 255 at the top left to 0 at the bottom right."""
    ramp = Image.linear_gradient("L").resize((64, 64))
    return ImageChops.invert(Image.blend(ramp, ramp.rotate(90), 0.35))


class Filling(TypedDict, total=False):
    """How a shape is filled; see `Pen.polygon`."""

    within: Image.Image | None
    edge: bool
    flat: bool


class Pen:
    """Draws on a canvas of `width` x `height` units; y grows downwards.

    Attributes:
        image: The canvas, RGBA, of `round(width * scale)` x `round(height * scale)` pixels.
    """

    def __init__(self, width: float, height: float, scale: float, line: float = 1.7) -> None:
        self.image = Image.new("RGBA", (round(width * scale), round(height * scale)))
        self._scale, self._line = scale, line

    def polygon(
        self,
        points: Sequence[Point],
        fill: RGB,
        *,
        within: Image.Image | None = None,
        edge: bool = True,
        flat: bool = False,
    ) -> Image.Image:
        """Fill a polygon.

        Args:
            points: Corners in units.
            fill: Colour; shading makes it lighter at the top left.
            within: Mask that restricts the area to draw.
            edge: Whether to draw an outline.
            flat: Whether to omit the shading.

        Returns:
            The mask of the filled area in the size of the canvas, which can be passed as `within`.
        """
        scaled = [(x * self._scale, y * self._scale) for x, y in points]
        if edge:
            width = round(2 * self._line * self._scale)
            rim = [*scaled, *scaled[:2]]
            self._paste(lambda d: d.line(rim, fill=255, width=width, joint="curve"), INK, within, flat=True)
        return self._paste(lambda d: d.polygon(scaled, fill=255), fill, within, flat=flat)

    def blob(self, points: Sequence[Point], fill: RGB, **options: bool) -> Image.Image:
        """Fill a smooth shape through the points; see `polygon` for options and result."""
        return self.polygon(smooth(points), fill, within=None, **options)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float | None = None,
        *,
        fill: RGB,
        **how: Unpack[Filling],
    ) -> Image.Image:
        """Fill an ellipse around (x, y) with semi-axes `rx` and `ry` (default: a circle); see `polygon`."""
        return self.polygon(oval(x, y, rx, rx if ry is None else ry), fill, **how)

    def box(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        fill: RGB,
        *,
        radius: float = 0.0,
        **how: Unpack[Filling],
    ) -> Image.Image:
        """Fill a box with rounded corners; see `polygon`."""
        r = min(radius, (x2 - x1) / 2, (y2 - y1) / 2)
        corners = ((x2 - r, y2 - r, 0), (x1 + r, y2 - r, 90), (x1 + r, y1 + r, 180), (x2 - r, y1 + r, 270))
        if r:
            points = [p for x, y, a in corners for p in oval(x, y, r, r, a, a + 90)[::4]]
        else:
            points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        return self.polygon(points, fill, **how)

    def line(
        self,
        points: Sequence[Point],
        fill: RGB,
        width: float = 1.7,
        *,
        within: Image.Image | None = None,
        edge: bool = False,
    ) -> None:
        """Draw a line with round ends and joints; `width` is in units."""
        if edge:
            self.line(points, INK, width + 2 * self._line, within=within)
        scaled = [(x * self._scale, y * self._scale) for x, y in points]
        thick = max(1, round(width * self._scale))

        def stroke(draw: ImageDraw.ImageDraw) -> None:
            draw.line(scaled, fill=255, width=thick, joint="curve")
            for x, y in (scaled[0], scaled[-1]):
                r = thick / 2 - 0.5
                draw.ellipse([x - r, y - r, x + r, y + r], fill=255)

        self._paste(stroke, fill, within, flat=True)

    def curve(self, points: Sequence[Point], fill: RGB, width: float = 1.7, **options: bool) -> None:
        """Draw a smooth line through the points; see `line`."""
        self.line(smooth(points, closed=False), fill, width, within=None, **options)

    def _paste(
        self, stroke: Callable[[ImageDraw.ImageDraw], None], fill: RGB, within: Image.Image | None, *, flat: bool
    ) -> Image.Image:
        mask = Image.new("L", self.image.size)
        stroke(ImageDraw.Draw(mask))
        if within is not None:
            mask = ImageChops.multiply(mask, within)
        bounds = mask.getbbox()
        if bounds is None:
            return mask
        size = (bounds[2] - bounds[0], bounds[3] - bounds[1])
        patch = Image.new("RGBA", size, (*fill, 255))
        if not flat:
            light = Image.new("RGBA", size, (*shade(fill, 1.16), 255))
            dark = Image.new("RGBA", size, (*shade(fill, 0.82), 255))
            patch = Image.composite(light, dark, _light().resize(size))
        self.image.paste(patch, bounds[:2], mask.crop(bounds))
        return mask
