"""Drawing of logos: a badge in the first colour with a white rim, and a glyph in the second colour."""

from __future__ import annotations

import math
from collections.abc import Callable

from gmner.data.world.cast import Character
from gmner.data.world.drawing.pen import INK, WHITE, Pen, Point, oval, shade, smooth
from gmner.data.world.looks import COLOURS, RGB

SIZE = (120.0, 120.0)
"""Width and height of the canvas of a logo, in units."""

_X = 60.0


def draw_logo(pen: Pen, who: Character) -> None:
    """Draw a logo on a canvas of `SIZE`."""
    badge, glyph = COLOURS[who.colours[0]], COLOURS[who.colours[1]]
    rim = (72, 78, 92) if who.colours[0] == "silver" else WHITE
    outline = _BADGES[who.kind]
    pen.polygon(outline(56), rim)
    pen.polygon(outline(49.5), badge, edge=False)
    _GLYPHS[who.kind](pen, glyph, badge)


def _round(size: float) -> list[Point]:
    return oval(_X, _X, size, size)


def _square(size: float) -> list[Point]:
    r = size * 0.42
    corners = ((1, 1, 0), (-1, 1, 90), (-1, -1, 180), (1, -1, 270))
    return [p for x, y, a in corners for p in oval(_X + x * (size - r), _X + y * (size - r), r, r, a, a + 90)]


def _hexagon(size: float) -> list[Point]:
    corners = [(_X + size * math.sin(math.pi * i / 3), _X - size * math.cos(math.pi * i / 3)) for i in range(6)]
    return _rounded(corners, 0.16)


def _shield(size: float) -> list[Point]:
    corners = [(-0.94, -0.98), (0.94, -0.98), (0.94, 0.1), (0.74, 0.56), (0, 1), (-0.74, 0.56), (-0.94, 0.1)]
    return _rounded([(_X + x * size, _X + y * size) for x, y in corners], 0.16)


def _rounded(corners: list[Point], share: float) -> list[Point]:
    """Round the corners of a polygon by a share of each side."""
    points = []
    for before, (x, y), after in zip([corners[-1], *corners[:-1]], corners, [*corners[1:], corners[0]], strict=True):
        start = (x + (before[0] - x) * share, y + (before[1] - y) * share)
        end = (x + (after[0] - x) * share, y + (after[1] - y) * share)
        middle = ((start[0] + 2 * x + end[0]) / 4, (start[1] + 2 * y + end[1]) / 4)
        points += [start, middle, end]
    return points


_BADGES: dict[str, Callable[[float], list[Point]]] = {
    "star": _round, "bolt": _hexagon, "wave": _square, "leaf": _round, "ring": _square, "drop": _shield,
    "arrow": _square,
}  # fmt: skip


def _star(pen: Pen, glyph: RGB, badge: RGB) -> None:
    radii = (44.0, 20.0) * 5
    points = [(_X + r * math.sin(i * math.pi / 5), 62 - r * math.cos(i * math.pi / 5)) for i, r in enumerate(radii)]
    pen.polygon(points, glyph)


def _bolt(pen: Pen, glyph: RGB, badge: RGB) -> None:
    pen.polygon([(58, 16), (28, 66), (54, 66), (44, 106), (94, 50), (68, 50), (84, 16)], glyph)


def _wave(pen: Pen, glyph: RGB, badge: RGB) -> None:
    field = pen.polygon(_square(49.5), badge, edge=False)
    for y in (40.0, 80.0):
        crest = [(float(x), y + 10 * math.sin((x - 5) / 110 * 4 * math.pi)) for x in range(0, 121, 4)]
        pen.line(crest, INK, 23, within=field)
        pen.line(crest, glyph, 19.6, within=field)


def _leaf(pen: Pen, glyph: RGB, badge: RGB) -> None:
    pen.blob([(33, 89), (25, 60), (40, 34), (68, 26), (92, 27), (93, 54), (80, 79), (58, 93)], glyph)
    pen.curve([(24, 98), (44, 76), (80, 38)], shade(badge, 0.6), 4.5)
    for x, y in ((48, 72), (64, 56)):
        pen.line([(x, y), (x - 3, y - 20)], shade(badge, 0.6), 3)
        pen.line([(x, y), (x + 20, y + 4)], shade(badge, 0.6), 3)


def _ring(pen: Pen, glyph: RGB, badge: RGB) -> None:
    pen.ellipse(_X, _X, 39, fill=glyph)
    pen.ellipse(_X, _X, 19, fill=badge)
    pen.ellipse(91, 29, 11, fill=glyph)


def _drop(pen: Pen, glyph: RGB, badge: RGB) -> None:
    pen.polygon(smooth([(60, 12), (66, 28), (88, 54), (90, 76), (60, 98), (30, 76), (32, 54), (54, 28)]), glyph)
    pen.curve([(42, 70), (46, 80), (56, 86)], WHITE if glyph != COLOURS["silver"] else shade(glyph, 0.6), 5)


def _arrow(pen: Pen, glyph: RGB, badge: RGB) -> None:
    pen.polygon([(15, 43), (53, 43), (53, 15), (106, 60), (53, 105), (53, 77), (15, 77)], glyph)


_GLYPHS: dict[str, Callable[[Pen, RGB, RGB], None]] = {
    "star": _star, "bolt": _bolt, "wave": _wave, "leaf": _leaf, "ring": _ring, "drop": _drop, "arrow": _arrow,
}  # fmt: skip
