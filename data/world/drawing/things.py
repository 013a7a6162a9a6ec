"""Drawing of things: the main colour is used for the body, the second for stripes, screens, sails and trim."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gmner.data.world.cast import Character
from gmner.data.world.drawing.pen import INK, WHITE, Pen, Point, is_light, oval, shade, smooth
from gmner.data.world.looks import COLOURS, RGB

SIZE = (180.0, 150.0)
"""Width and height of the canvas of a thing, in units."""

_X = 90.0
_GLASS: RGB = (196, 226, 242)
_TYRE: RGB = (46, 44, 52)
_WOOD: RGB = (150, 104, 62)


def draw_thing(pen: Pen, who: Character) -> None:
    """Draw a thing on a canvas of `SIZE`."""
    _KINDS[who.kind](pen, COLOURS[who.colours[0]], COLOURS[who.colours[1]])


def _trophy(pen: Pen, first: RGB, second: RGB) -> None:
    for side in (-1, 1):
        handle = [(36, 24), (54, 22), (58, 40), (46, 58), (28, 66)]
        pen.curve([(_X + x * side, y) for x, y in handle], first, 8, edge=True)
    pen.box(82, 82, 98, 112, first)
    pen.ellipse(_X, 98, 12, 6, fill=first)
    bowl = pen.polygon([(48, 10), (132, 10), (129, 44), (118, 70), (100, 88), (80, 88), (62, 70), (51, 44)], first)
    pen.box(40, 30, 140, 58, second, within=bowl, edge=False)
    for y in (30.0, 58.0):
        pen.box(40, y - 0.8, 140, y + 0.8, INK, within=bowl, edge=False, flat=True)
    pen.box(44, 6, 136, 17, first, radius=5)
    pen.polygon([(66, 120), (72, 108), (108, 108), (114, 120)], first)
    pen.box(54, 118, 126, 145, second, radius=4)
    pen.box(72, 126, 108, 137, first, radius=2)


def _phone(pen: Pen, first: RGB, second: RGB) -> None:
    pen.box(126, 44, 133, 64, first, radius=2)
    pen.box(54, 5, 128, 145, first, radius=17)
    screen = pen.box(65, 20, 117, 124, second, radius=6)
    pen.polygon([(60, 72), (117, 20), (125, 20), (125, 30), (60, 90)], shade(second, 1.35), within=screen, edge=False)
    icon = shade(second, 0.45) if is_light(second) else WHITE
    for x in (74.0, 91.0, 108.0):
        pen.box(x - 5, 104, x + 5, 114, icon, radius=3, edge=False)
    pen.box(78, 30, 104, 37, icon, radius=3, edge=False)
    button = WHITE if not is_light(first) else shade(first, 0.5)
    pen.ellipse(91, 134, 5, fill=button, edge=False)
    pen.box(80, 11, 102, 14.5, button, radius=1.7, edge=False)


def _car(pen: Pen, first: RGB, second: RGB) -> None:
    pen.polygon(_stout([(44, 66), (60, 28), (72, 20), (120, 20), (134, 30), (152, 66)]), second)
    pen.polygon(_stout([(58, 64), (70, 38), (92, 37), (92, 64)]), _GLASS)
    pen.polygon(_stout([(100, 64), (100, 37), (121, 37), (137, 64)]), _GLASS)
    outline = [(8, 110), (6, 84), (16, 70), (46, 62), (150, 62), (168, 72), (175, 90), (174, 110)]
    body = pen.polygon(_stout(outline), first)
    pen.box(0, 82, 180, 102, second, within=body, edge=False)
    pen.line([(95, 60), (95, 106)], shade(first, 0.45), 1.8)
    pen.ellipse(156, 76, 6, 7, fill=(255, 240, 170))
    pen.box(14, 70, 21, 82, (230, 70, 60), radius=2)
    for x in (52.0, 129.0):
        pen.ellipse(x, 112, 22, fill=_TYRE)
        pen.ellipse(x, 112, 11, fill=(214, 218, 226), edge=False)
        pen.ellipse(x, 112, 4, fill=_TYRE, edge=False)


def _stout(points: Sequence[Point]) -> list[Point]:
    """Make the points of a car shorter and higher."""
    return [(_X + (x - _X) * 0.88, 130 - (130 - y) * 1.14) for x, y in points]


def _guitar(pen: Pen, first: RGB, second: RGB) -> None:
    pen.box(85, 22, 95, 82, _WOOD)
    for y in (32.0, 42.0, 52.0, 62.0):
        pen.line([(86, y), (94, y)], shade(_WOOD, 1.5), 1.4)
    pen.polygon([(80, 6), (_X, 3), (100, 6), (97, 26), (83, 26)], second)
    for side in (-1, 1):
        for y in (10.0, 19.0):
            pen.ellipse(_X + 13 * side, y, 3, fill=(226, 226, 230))
    half = [(6, 72), (24, 66), (34, 76), (30, 92), (38, 112), (36, 134), (16, 145)]
    outline = [(_X - x, y) for x, y in reversed(half)] + [(_X + x, y) for x, y in half]
    body = pen.blob(outline, first)
    plate = smooth([(80, 84), (108, 72), (122, 80), (116, 98), (128, 116), (122, 142), (90, 142), (80, 112)])
    pen.polygon(plate, second, within=body)
    pen.ellipse(_X, 98, 11, fill=INK, edge=False)
    pen.box(76, 122, 104, 129, shade(_WOOD, 0.6), radius=2)
    for x in (87.5, 90.0, 92.5):
        pen.line([(x, 22), (x, 124)], (240, 240, 240), 0.9)


def _cup(pen: Pen, first: RGB, second: RGB) -> None:
    pen.ellipse(84, 132, 66, 12, fill=second)
    pen.ellipse(84, 129, 40, 6, fill=shade(second, 0.7), edge=False)
    pen.line(oval(128, 78, 17, 20), first, 10, edge=True)
    mug = pen.polygon([(38, 40), (130, 40), (127, 92), (118, 118), (104, 130), (64, 130), (50, 118), (41, 92)], first)
    zigzag = [(30.0, 62.0), *((30.0 + 9 * i, 56.0 if i % 2 else 66.0) for i in range(13)), (140.0, 62.0)]
    pen.polygon([*zigzag, (140, 98), (30, 98)], second, within=mug, edge=False)
    pen.ellipse(84, 40, 46, 12, fill=shade(first, 1.3))
    pen.ellipse(84, 42, 38, 8, fill=(88, 54, 36), flat=True)
    for x in (70.0, 94.0):
        pen.curve([(x, 32), (x - 6, 24), (x + 5, 15), (x, 7)], (236, 236, 240), 4.5, edge=True)


def _boat(pen: Pen, first: RGB, second: RGB) -> None:
    pen.line([(84, 6), (84, 108)], _WOOD, 4, edge=True)
    pen.polygon([(91, 12), (112, 46), (148, 96), (91, 96)], second)
    pen.polygon([(77, 24), (62, 60), (36, 96), (77, 96)], second)
    pen.line([(92, 70), (126, 70)], shade(second, 0.6), 2)
    pen.line([(58, 70), (76, 70)], shade(second, 0.6), 2)
    pen.polygon([(84, 5), (106, 11), (84, 18)], first)
    hull = pen.polygon([(12, 104), (168, 104), (160, 124), (144, 145), (40, 145), (22, 124)], first)
    pen.box(0, 110, 180, 116, shade(first, 1.5), within=hull, edge=False)
    for x in (62.0, 90.0, 118.0):
        pen.ellipse(x, 128, 5, fill=_GLASS)


def _balloon(pen: Pen, first: RGB, second: RGB) -> None:
    for side in (-1, 1):
        pen.line([(_X + 30 * side, 88), (_X + 11 * side, 128)], INK, 2.2)
    skirt = [(140, 50), (136, 68), (120, 92), (104, 108), (76, 108), (60, 92), (44, 68), (40, 50)]
    dome = [(42, 36), (56, 14), (90, 4), (124, 14), (138, 36)]
    bag = pen.blob([*skirt, *dome], first)
    for side in (-1, 1):
        panel = [(12, 2), (26, 20), (32, 50), (24, 84), (10, 112), (4, 112), (10, 84), (13, 50), (10, 20), (4, 2)]
        pen.polygon([(_X + x * side, y) for x, y in panel], second, within=bag, edge=False)
    pen.box(0, 44, 180, 58, second, within=bag, edge=False)
    for y in (44.0, 58.0):
        pen.box(0, y - 0.7, 180, y + 0.7, INK, within=bag, edge=False, flat=True)
    pen.box(76, 104, 104, 111, second, radius=3)
    pen.box(76, 124, 104, 146, _WOOD, radius=5)
    pen.box(74, 122, 106, 129, shade(_WOOD, 0.7), radius=3)


def _rocket(pen: Pen, first: RGB, second: RGB) -> None:
    pen.polygon([(76, 118), (104, 118), (100, 134), (90, 147), (80, 134)], (255, 170, 40))
    pen.polygon([(83, 118), (97, 118), (90, 136)], (255, 236, 130), edge=False)
    for side in (-1, 1):
        fin = [(18, 76), (32, 88), (44, 112), (44, 132), (30, 122), (16, 116)]
        pen.polygon([(_X + x * side, y) for x, y in fin], second)
    hull = [(_X, 4), (104, 22), (114, 48), (116, 80), (108, 120), (72, 120), (64, 80), (66, 48), (76, 22)]
    body = pen.polygon(hull, first)
    pen.box(0, 0, 180, 42, second, within=body, edge=False)
    pen.box(0, 41, 180, 43, INK, within=body, edge=False, flat=True)
    pen.box(0, 96, 180, 110, second, within=body, edge=False)
    pen.ellipse(_X, 66, 13, fill=shade(second, 0.7))
    pen.ellipse(_X, 66, 8.5, fill=_GLASS)


_KINDS: dict[str, Callable[[Pen, RGB, RGB], None]] = {
    "trophy": _trophy, "phone": _phone, "car": _car, "guitar": _guitar, "cup": _cup, "boat": _boat,
    "balloon": _balloon, "rocket": _rocket,
}  # fmt: skip
