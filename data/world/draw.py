"""Pictures of the world, drawn with Pillow: every look fills its box; long hair begins 8 % below the top."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw

from gmner.data.world.cast import COLOURS, RGB, Character

SIDE = 256
"""Width and height of a picture in pixels."""

_SS = 2
_INK: RGB = (30, 30, 36)
Rect = tuple[int, int, int, int]


class _Pen:
    """Draws in unit coordinates (0..1) of one rectangle."""

    def __init__(self, draw: ImageDraw.ImageDraw, rect: Rect) -> None:
        self._draw = draw
        self._x, self._y, right, bottom = (v * _SS for v in rect)
        self._w, self._h = right - self._x, bottom - self._y
        self._line = max(2, round(min(self._w, self._h) * 0.025))

    def _points(self, *points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(self._x + x * self._w, self._y + y * self._h) for x, y in points]

    def ellipse(self, x1: float, y1: float, x2: float, y2: float, fill: RGB) -> None:
        self._draw.ellipse(self._points((x1, y1), (x2, y2)), fill=fill, outline=_INK, width=self._line)

    def dot(self, x: float, y: float, radius: float, fill: RGB) -> None:
        (cx, cy), r = self._points((x, y))[0], radius * min(self._w, self._h)
        self._draw.ellipse([(cx - r, cy - r), (cx + r, cy + r)], fill=fill)

    def box(self, x1: float, y1: float, x2: float, y2: float, fill: RGB, round_: float = 0.0) -> None:
        radius = round_ * min(self._w, self._h)
        self._draw.rounded_rectangle(
            self._points((x1, y1), (x2, y2)), radius=radius, fill=fill, outline=_INK, width=self._line
        )

    def polygon(self, points: list[tuple[float, float]], fill: RGB) -> None:
        self._draw.polygon(self._points(*points), fill=fill, outline=_INK, width=self._line)

    def line(self, points: list[tuple[float, float]], fill: RGB, thick: float = 0.05) -> None:
        width = max(2, round(thick * min(self._w, self._h)))
        self._draw.line(self._points(*points), fill=fill, width=width, joint="curve")

    def arc(self, x1: float, y1: float, x2: float, y2: float, start: float, end: float, fill: RGB) -> None:
        self._draw.arc(self._points((x1, y1), (x2, y2)), start, end, fill=fill, width=self._line)


def _shade(colour: RGB, factor: float) -> RGB:
    r, g, b = (min(255, round(v * factor)) for v in colour)
    return (r, g, b)


_SKIN: dict[str, RGB] = {
    "short": (224, 172, 125),
    "long": (247, 212, 182),
    "bun": (141, 90, 60),
    "curly": (198, 140, 96),
    "cap": (240, 196, 160),
}


def _person(pen: _Pen, who: Character) -> None:
    hair, shirt = (COLOURS[name] for name in who.colours)
    skin = _SKIN[who.kind]
    pen.polygon([(0, 1), (0.06, 0.8), (0.3, 0.68), (0.7, 0.68), (0.94, 0.8), (1, 1)], shirt)
    if who.kind == "long":
        pen.box(0.14, 0.08, 0.86, 0.76, hair, 0.3)
    if who.kind == "curly":
        for x, y in ((0.2, 0.2), (0.8, 0.2), (0.5, 0.13), (0.16, 0.4), (0.84, 0.4)):
            pen.ellipse(x - 0.17, y - 0.13, x + 0.17, y + 0.15, hair)
    if who.kind == "bun":
        pen.ellipse(0.34, 0, 0.66, 0.24, hair)
    pen.box(0.41, 0.6, 0.59, 0.76, skin, 0.05)
    pen.ellipse(0.22, 0.12, 0.78, 0.68, skin)
    if who.kind in ("short", "bun", "long", "curly"):
        top = 0.0 if who.kind == "short" else 0.08
        pen.polygon([(0.2, 0.36), (0.22, 0.18), (0.38, top), (0.62, top), (0.78, 0.18), (0.8, 0.36), (0.5, 0.24)], hair)
    if who.kind == "cap":
        pen.polygon([(0.2, 0.3), (0.24, 0.1), (0.4, 0), (0.6, 0), (0.76, 0.1), (0.8, 0.3)], hair)
        pen.box(0.2, 0.25, 0.98, 0.34, _shade(hair, 0.8), 0.04)
    for x in (0.39, 0.61):
        pen.dot(x, 0.43, 0.032, _INK)
    pen.arc(0.38, 0.44, 0.62, 0.6, 20, 160, _INK)


def _tower(pen: _Pen, c: RGB) -> None:
    pen.polygon([(0, 1), (0.42, 0.12), (0.58, 0.12), (1, 1), (0.76, 1), (0.5, 0.5), (0.24, 1)], c)
    pen.line([(0.5, 0), (0.5, 0.14)], _INK, 0.06)
    pen.line([(0.22, 0.6), (0.78, 0.6)], _INK)
    pen.line([(0.34, 0.36), (0.66, 0.36)], _INK)


def _bridge(pen: _Pen, c: RGB) -> None:
    pen.box(0.18, 0, 0.28, 1, c)
    pen.box(0.72, 0, 0.82, 1, c)
    pen.line([(0, 0.62), (0.23, 0.08), (0.5, 0.52), (0.77, 0.08), (1, 0.62)], _INK, 0.04)
    pen.box(0, 0.62, 1, 0.76, _shade(c, 0.75))


def _lighthouse(pen: _Pen, c: RGB) -> None:
    pen.polygon([(0.12, 1), (0.28, 0.26), (0.72, 0.26), (0.88, 1)], (246, 246, 246))
    pen.polygon([(0.16, 0.8), (0.22, 0.55), (0.78, 0.55), (0.84, 0.8)], c)
    pen.box(0.24, 0.12, 0.76, 0.28, (255, 236, 140))
    pen.polygon([(0, 0.13), (0.5, 0), (1, 0.13)], c)


def _pyramid(pen: _Pen, c: RGB) -> None:
    pen.polygon([(0, 1), (0.5, 0), (1, 1)], c)
    pen.polygon([(0.5, 0), (1, 1), (0.62, 1)], _shade(c, 0.7))
    pen.line([(0.25, 0.5), (0.54, 0.5)], _INK, 0.03)


def _dome(pen: _Pen, c: RGB) -> None:
    pen.ellipse(0.12, 0.06, 0.88, 0.94, c)
    pen.box(0, 0.55, 1, 1, (236, 226, 205))
    for x in (0.14, 0.44, 0.74):
        pen.box(x, 0.66, x + 0.13, 1, _shade(c, 0.7), 0.04)
    pen.line([(0.5, 0), (0.5, 0.1)], _INK, 0.05)


def _castle(pen: _Pen, c: RGB) -> None:
    pen.box(0.1, 0.42, 0.9, 1, c)
    for x in (0, 0.38, 0.76):
        pen.box(x, 0.2, x + 0.24, 1, _shade(c, 0.9))
        pen.polygon([(x, 0.2), (x + 0.12, 0), (x + 0.24, 0.2)], _shade(c, 0.6))
    pen.box(0.42, 0.7, 0.58, 1, _INK, 0.06)


def _windmill(pen: _Pen, c: RGB) -> None:
    pen.polygon([(0.26, 1), (0.36, 0.34), (0.64, 0.34), (0.74, 1)], c)
    for x, y in ((0, 0.02), (1, 0.02), (0.02, 0.76), (0.98, 0.76)):
        pen.line([(0.5, 0.38), (x, y)], (246, 246, 246), 0.1)
        pen.line([(0.5, 0.38), (x, y)], _INK, 0.03)
    pen.dot(0.5, 0.38, 0.07, _INK)


def _badge(pen: _Pen, c: RGB) -> None:
    pen.box(0, 0, 1, 1, c, 0.22)


def _glyph_fill(c: RGB) -> RGB:
    return (250, 250, 250) if sum(c) < 560 else _INK


def _star(pen: _Pen, c: RGB) -> None:
    _badge(pen, c)
    ring = [
        (0.5 + r * math.sin(i * math.pi / 5), 0.52 - r * math.cos(i * math.pi / 5))
        for i, r in enumerate([0.4, 0.16] * 5)
    ]
    pen.polygon(ring, _glyph_fill(c))


def _bolt(pen: _Pen, c: RGB) -> None:
    _badge(pen, c)
    pen.polygon([(0.6, 0.08), (0.24, 0.56), (0.46, 0.56), (0.38, 0.92), (0.76, 0.4), (0.54, 0.4)], _glyph_fill(c))


def _wave(pen: _Pen, c: RGB) -> None:
    _badge(pen, c)
    for y in (0.34, 0.54, 0.74):
        points = [(0.12 + i * 0.038, y + 0.07 * math.sin(i * 0.95)) for i in range(21)]
        pen.line(points, _glyph_fill(c), 0.08)


def _leaf(pen: _Pen, c: RGB) -> None:
    _badge(pen, c)
    pen.polygon([(0.16, 0.84), (0.2, 0.4), (0.5, 0.16), (0.86, 0.14), (0.82, 0.52), (0.58, 0.78)], _glyph_fill(c))
    pen.line([(0.14, 0.88), (0.68, 0.32)], c, 0.06)


def _ring(pen: _Pen, c: RGB) -> None:
    _badge(pen, c)
    pen.ellipse(0.14, 0.14, 0.86, 0.86, _glyph_fill(c))
    pen.ellipse(0.32, 0.32, 0.68, 0.68, c)


def _drop(pen: _Pen, c: RGB) -> None:
    _badge(pen, c)
    pen.polygon([(0.5, 0.08), (0.76, 0.5), (0.74, 0.74), (0.5, 0.9), (0.26, 0.74), (0.24, 0.5)], _glyph_fill(c))


def _arrow(pen: _Pen, c: RGB) -> None:
    _badge(pen, c)
    pen.polygon(
        [(0.12, 0.4), (0.5, 0.4), (0.5, 0.18), (0.9, 0.5), (0.5, 0.82), (0.5, 0.6), (0.12, 0.6)], _glyph_fill(c)
    )


def _trophy(pen: _Pen, c: RGB) -> None:
    pen.ellipse(0, 0.08, 1, 0.5, _shade(c, 0.8))
    pen.polygon([(0.16, 0), (0.84, 0), (0.76, 0.4), (0.56, 0.58), (0.44, 0.58), (0.24, 0.4)], c)
    pen.box(0.44, 0.56, 0.56, 0.82, c)
    pen.box(0.2, 0.8, 0.8, 1, _shade(c, 0.6), 0.03)


def _phone(pen: _Pen, c: RGB) -> None:
    pen.box(0, 0, 1, 1, c, 0.16)
    pen.box(0.09, 0.1, 0.91, 0.84, (160, 214, 245), 0.05)
    pen.dot(0.5, 0.92, 0.06, (235, 235, 235))
    pen.polygon([(0.2, 0.76), (0.45, 0.4), (0.6, 0.58), (0.7, 0.48), (0.84, 0.76)], _shade(c, 0.9))


def _car(pen: _Pen, c: RGB) -> None:
    pen.polygon([(0.2, 0.42), (0.32, 0), (0.72, 0), (0.86, 0.42)], (190, 225, 245))
    pen.box(0, 0.38, 1, 0.8, c, 0.14)
    for x in (0.13, 0.65):
        pen.ellipse(x, 0.58, x + 0.22, 1, _INK)
        pen.dot(x + 0.11, 0.79, 0.08, (200, 200, 200))


def _guitar(pen: _Pen, c: RGB) -> None:
    pen.box(0.42, 0, 0.58, 0.6, (120, 76, 44))
    pen.ellipse(0.14, 0.42, 0.86, 0.74, c)
    pen.ellipse(0, 0.58, 1, 1, c)
    pen.ellipse(0.36, 0.6, 0.64, 0.76, _INK)
    pen.line([(0.5, 0.04), (0.5, 0.9)], (240, 240, 240), 0.03)


def _cup(pen: _Pen, c: RGB) -> None:
    pen.ellipse(0.6, 0.4, 1, 0.82, (246, 246, 246))
    pen.polygon([(0, 0.28), (0.8, 0.28), (0.7, 1), (0.1, 1)], c)
    pen.box(0.08, 0.5, 0.72, 0.72, (246, 246, 246))
    for x in (0.25, 0.5):
        pen.line([(x, 0.24), (x + 0.06, 0.14), (x, 0.08), (x + 0.06, 0)], (225, 225, 225), 0.05)


def _boat(pen: _Pen, c: RGB) -> None:
    pen.line([(0.48, 0), (0.48, 0.75)], _INK, 0.05)
    pen.polygon([(0.52, 0.03), (0.94, 0.62), (0.52, 0.62)], (250, 250, 250))
    pen.polygon([(0.44, 0.12), (0.14, 0.62), (0.44, 0.62)], c)
    pen.polygon([(0, 0.7), (1, 0.7), (0.82, 1), (0.18, 1)], c)


def _balloon(pen: _Pen, c: RGB) -> None:
    pen.ellipse(0, 0, 1, 0.72, c)
    pen.ellipse(0.32, 0, 0.68, 0.72, _shade(c, 0.75))
    pen.line([(0.2, 0.6), (0.38, 0.84)], _INK, 0.03)
    pen.line([(0.8, 0.6), (0.62, 0.84)], _INK, 0.03)
    pen.box(0.36, 0.82, 0.64, 1, (150, 100, 60), 0.03)


def _rocket(pen: _Pen, c: RGB) -> None:
    pen.polygon([(0.36, 0.8), (0.64, 0.8), (0.5, 1)], (255, 170, 40))
    pen.polygon([(0.3, 0.5), (0, 0.86), (0.3, 0.8)], _shade(c, 0.6))
    pen.polygon([(0.7, 0.5), (1, 0.86), (0.7, 0.8)], _shade(c, 0.6))
    pen.polygon([(0.5, 0), (0.7, 0.22), (0.72, 0.84), (0.28, 0.84), (0.3, 0.22)], c)
    pen.ellipse(0.39, 0.28, 0.61, 0.46, (160, 214, 245))


_DRAWERS: dict[str, Callable[[_Pen, RGB], None]] = {
    "tower": _tower, "bridge": _bridge, "lighthouse": _lighthouse, "pyramid": _pyramid, "dome": _dome,
    "castle": _castle, "windmill": _windmill, "star": _star, "bolt": _bolt, "wave": _wave, "leaf": _leaf,
    "ring": _ring, "drop": _drop, "arrow": _arrow, "trophy": _trophy, "phone": _phone, "car": _car,
    "guitar": _guitar, "cup": _cup, "boat": _boat, "balloon": _balloon, "rocket": _rocket,
}  # fmt: skip

_ASPECT: dict[str, float] = {
    "tower": 0.62, "lighthouse": 0.52, "bridge": 1.5, "pyramid": 1.25, "dome": 1.15, "castle": 1.05, "windmill": 0.9,
    "trophy": 0.8, "phone": 0.56, "car": 1.7, "guitar": 0.48, "cup": 0.95, "boat": 1.05, "balloon": 0.78,
    "rocket": 0.6,
}  # fmt: skip


def aspect(who: Character) -> float:
    """Width over height of an entity's look."""
    if who.type == "PER":
        return 0.84
    return _ASPECT.get(who.kind, 1.0)


_BACKDROPS: list[tuple[RGB, RGB, RGB]] = [
    ((150, 200, 235), (215, 235, 245), (150, 180, 130)),
    ((245, 200, 160), (250, 230, 205), (170, 140, 120)),
    ((190, 190, 215), (225, 220, 235), (140, 140, 160)),
    ((225, 220, 205), (240, 236, 226), (190, 165, 135)),
    ((170, 210, 200), (220, 238, 230), (125, 150, 150)),
    ((96, 110, 150), (150, 150, 185), (80, 90, 105)),
    ((235, 190, 200), (248, 224, 226), (175, 150, 165)),
]
"""Skies from top to bottom and the ground under them."""


def _jitter(colour: RGB, rng: random.Random, by: int = 14) -> RGB:
    r, g, b = (min(255, max(0, v + rng.randint(-by, by))) for v in colour)
    return (r, g, b)


def _background(rng: random.Random) -> Image.Image:
    """A quiet backdrop: a gradient sky, a ground, and a few soft shapes that are nothing in particular."""
    top, bottom, ground = (_jitter(colour, rng) for colour in rng.choice(_BACKDROPS))
    strip = Image.new("RGB", (1, 2))
    strip.putpixel((0, 0), top)
    strip.putpixel((0, 1), bottom)
    canvas = strip.resize((SIDE * _SS, SIDE * _SS), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(canvas)
    horizon = rng.uniform(0.55, 0.9) * SIDE * _SS
    draw.rectangle([0, horizon, SIDE * _SS, SIDE * _SS], fill=ground)
    for _ in range(rng.randint(0, 4)):
        x, y, r = rng.uniform(0, 1) * SIDE * _SS, rng.uniform(0, 0.5) * SIDE * _SS, rng.uniform(10, 45) * _SS
        draw.ellipse([x - 1.6 * r, y - 0.5 * r, x + 1.6 * r, y + 0.5 * r], fill=tuple(min(255, v + 14) for v in top))
    return canvas


def draw_scene(placed: list[tuple[Character, Rect]], rng: random.Random) -> Image.Image:
    """Draw a picture.

    Args:
        placed: Entities with their boxes (x1, y1, x2, y2) in pixels of the picture, drawn in this order.
        rng: The source of the backdrop's randomness.

    Returns:
        An RGB image of `SIDE` x `SIDE` pixels.
    """
    canvas = _background(rng)
    draw = ImageDraw.Draw(canvas)
    for who, rect in placed:
        pen = _Pen(draw, rect)
        if who.type == "PER":
            _person(pen, who)
        else:
            _DRAWERS[who.kind](pen, COLOURS[who.colours[0]])
    return canvas.resize((SIDE, SIDE), Image.Resampling.BOX)
