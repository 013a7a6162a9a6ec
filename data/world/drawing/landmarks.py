"""Drawing of landmarks: the main colour is used for the body, the second for decks, roofs, bands and sails."""

from __future__ import annotations

from collections.abc import Callable

from gmner.data.world.cast import Character
from gmner.data.world.drawing.pen import INK, WHITE, Pen, oval, shade
from gmner.data.world.looks import COLOURS, RGB

SIZE = (180.0, 150.0)
"""Width and height of the canvas of a landmark, in units."""

_STONE: RGB = (222, 212, 192)
_GLOW: RGB = (255, 238, 150)
_X = 90.0


def draw_landmark(pen: Pen, who: Character) -> None:
    """Draw a landmark on a canvas of `SIZE`."""
    _KINDS[who.kind](pen, COLOURS[who.colours[0]], COLOURS[who.colours[1]])


def _tower(pen: Pen, first: RGB, second: RGB) -> None:
    pen.box(_X - 2.5, 6, _X + 2.5, 30, second)
    pen.polygon([(82, 60), (85, 24), (95, 24), (98, 60)], second)
    pen.polygon([(72, 104), (81, 58), (99, 58), (108, 104)], first)
    pen.polygon([(78, 100), (83, 66), (97, 66), (102, 100)], shade(first, 0.55), edge=False)
    for a, b in (((79, 98), (97, 68)), ((101, 98), (83, 68))):
        pen.line([a, b], first, 4)
    foot = [(46, 145), (54, 132), (66, 112), (70, 100), (110, 100), (114, 112), (126, 132), (134, 145), (114, 145)]
    arch = [(112, 138), (106, 128), (90, 122), (74, 128), (68, 138), (66, 145)]
    pen.polygon([*foot, *arch], first)
    pen.box(60, 96, 120, 112, second, radius=4)
    pen.box(74, 50, 106, 63, second, radius=4)
    for x in (66.0, 77.0, 88.0, 99.0, 110.0):
        pen.box(x - 1, 101, x + 4, 107, shade(second, 0.45), edge=False)


def _bridge(pen: Pen, first: RGB, second: RGB) -> None:
    for x in (46.0, 134.0):
        pen.polygon([(x - 12, 145), (x - 10, 122), (x + 10, 122), (x + 12, 145)], second)
    cable = [(8, 104), (26, 70), (46, 22), (66, 68), (90, 86), (114, 68), (134, 22), (154, 70), (172, 104)]
    tops = ((26, 74), (34, 52), (58, 54), (70, 74), (82, 84), (98, 84), (110, 74), (122, 54), (146, 52), (154, 74))
    for at, top in tops:
        pen.line([(at, top), (at, 108)], INK, 2.2)
    for part in (cable[:3], cable[2:7], cable[6:]):
        pen.curve(part, first, 5.5, edge=True)
    for x in (46.0, 134.0):
        pen.box(x - 10, 14, x + 10, 128, first, radius=2)
        pen.box(x - 13, 8, x + 13, 18, first, radius=3)
        for y in (28.0, 54.0, 80.0):
            pen.box(x - 4, y, x + 4, y + 15, shade(first, 0.45), radius=3.5, edge=False)
    pen.box(2, 103, 178, 124, second, radius=3)
    pen.box(2, 109, 178, 113, shade(second, 0.6), edge=False, flat=True)


def _lighthouse(pen: Pen, first: RGB, second: RGB) -> None:
    pen.blob([(54, 146), (54, 136), (68, 129), (90, 132), (112, 129), (126, 136), (126, 146)], (128, 124, 132))
    body = pen.polygon([(64, 136), (74, 46), (106, 46), (116, 136)], first)
    for top in (60.0, 100.0):
        pen.box(50, top, 130, top + 22, second, within=body, edge=False)
    pen.box(83, 84, 97, 97, INK, radius=7, edge=False)
    pen.box(85, 86, 95, 96, _GLOW, radius=5, edge=False)
    pen.box(78, 24, 102, 44, _GLOW, radius=2)
    pen.line([(_X, 24), (_X, 44)], INK, 1.8)
    pen.box(66, 42, 114, 50, second, radius=3)
    pen.polygon([(72, 25), (80, 13), (_X, 7), (100, 13), (108, 25)], first)
    pen.ellipse(_X, 6, 3.6, fill=second)


def _pyramid(pen: Pen, first: RGB, second: RGB) -> None:
    body = pen.polygon([(8, 142), (_X, 12), (172, 142)], first)
    pen.box(0, 0, 180, 62, second, within=body, edge=False)
    pen.box(0, 96, 180, 114, second, within=body, edge=False)
    right = pen.polygon([(_X, 12), (172, 142), (108, 142)], shade(first, 0.68), within=body, edge=False)
    pen.box(0, 0, 180, 62, shade(second, 0.72), within=right, edge=False)
    pen.box(0, 96, 180, 114, shade(second, 0.72), within=right, edge=False)
    for y in (62.0, 79.0, 96.0, 114.0, 128.0):
        pen.box(0, y - 0.8, 180, y + 0.8, INK, within=body, edge=False, flat=True)
    pen.polygon([(74, 142), (79, 120), (89, 120), (94, 142)], INK, edge=False, flat=True)


def _dome(pen: Pen, first: RGB, second: RGB) -> None:
    pen.line([(_X, 6), (_X, 26)], second, 5, edge=True)
    cap = pen.polygon([(44, 76), *oval(_X, 72, 46, 50, 180, 360), (136, 76)], first)
    for x in (-26.0, 0.0, 26.0):
        pen.curve([(_X + x * 0.25, 22), (_X + x * 0.85, 46), (_X + x, 78)], shade(first, 0.6), 2.4)
    pen.box(0, 60, 180, 66, shade(first, 0.7), within=cap, edge=False)
    pen.box(34, 74, 146, 86, second, radius=3)
    pen.box(26, 86, 154, 134, _STONE)
    for x in (26.0, 52.0, 110.0, 136.0):
        pen.box(x, 86, x + 18, 134, second)
    pen.box(74, 102, 106, 136, shade(first, 0.6), radius=15)
    pen.box(16, 132, 164, 145, second, radius=2)


def _castle(pen: Pen, first: RGB, second: RGB) -> None:
    for left in range(46, 140, 14):
        pen.box(left, 66, left + 8, 80, first)
    pen.box(40, 76, 140, 145, first)
    for x, top, wide in ((34.0, 62.0, 19.0), (146.0, 62.0, 19.0), (90.0, 50.0, 20.0)):
        pen.box(x - wide + 4, top, x + wide - 4, 145, shade(first, 0.94))
        pen.polygon([(x - wide - 3, top + 3), (x, top - 44), (x + wide + 3, top + 3)], second)
        pen.box(x - 4, top + 14, x + 4, top + 30, INK, radius=4, edge=False)
    pen.box(74, 104, 106, 146, second, radius=16)
    pen.line([(_X, 106), (_X, 144)], shade(second, 0.5), 1.8)
    for x, y in ((58.0, 98.0), (62.0, 126.0), (118.0, 92.0), (122.0, 120.0)):
        pen.box(x - 5, y, x + 5, y + 4, shade(first, 0.72), radius=1, edge=False)


def _windmill(pen: Pen, first: RGB, second: RGB) -> None:
    pen.polygon([(56, 145), (70, 66), (110, 66), (124, 145)], first)
    pen.box(78, 118, 102, 146, shade(first, 0.45), radius=11)
    pen.box(83, 88, 97, 104, _GLOW, radius=6)
    pen.polygon([(64, 70), (72, 50), (_X, 42), (108, 50), (116, 70)], shade(first, 0.72))
    for turn in range(4):
        pen.polygon(_turned([(-3, 6), (3, 6), (3, 58), (-3, 58)], turn), WHITE)
        pen.polygon(_turned([(3, 14), (20, 14), (20, 58), (3, 58)], turn), second)
        for along in (28, 43):
            pen.line(_turned([(3, along), (20, along)], turn), shade(second, 0.55), 1.8)
    pen.ellipse(_X, 62, 7, fill=shade(second, 0.6))


def _turned(points: list[tuple[float, float]], quarters: int) -> list[tuple[float, float]]:
    """Rotate points around the hub of the sails by 45 degrees plus a number of quarter turns."""
    cos, sin = ((0.707, 0.707), (-0.707, 0.707), (-0.707, -0.707), (0.707, -0.707))[quarters]
    return [(_X + x * cos - y * sin, 62 + x * sin + y * cos) for x, y in points]


_KINDS: dict[str, Callable[[Pen, RGB, RGB], None]] = {
    "tower": _tower, "bridge": _bridge, "lighthouse": _lighthouse, "pyramid": _pyramid, "dome": _dome,
    "castle": _castle, "windmill": _windmill,
}  # fmt: skip
