"""Props, which are objects that are not named entities, and banners with a word."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from gmner.data.world.drawing.pen import INK, Pen, oval, shade
from gmner.data.world.drawing.portraits import cut
from gmner.data.world.looks import RGB

WORDS = ("SALE", "OPEN", "NEWS", "HELLO", "TODAY", "LIVE", "FREE", "WELCOME", "PARTY", "EXIT")
"""Words on banners; none is the name of an entity."""

HIGH = ("cloud", "bird", "kite")
"""Props in the upper half of an image."""

VARIANTS = 3
"""Number of tints of each prop."""

_SCALE = 2.0
_GREENS: tuple[RGB, ...] = ((112, 148, 104), (134, 156, 96), (96, 136, 120))
_WOODS: tuple[RGB, ...] = ((150, 124, 100), (128, 108, 96), (168, 144, 112))
_GREYS: tuple[RGB, ...] = ((140, 146, 156), (160, 156, 150), (118, 126, 138))
_PALES: tuple[RGB, ...] = ((226, 222, 212), (208, 214, 218), (222, 208, 196))
_FURS: tuple[RGB, ...] = ((150, 140, 132), (192, 170, 142), (96, 92, 96))
_BLUSHES: tuple[RGB, ...] = ((196, 150, 140), (150, 164, 186), (186, 172, 130))


def _tree(pen: Pen, tint: int) -> None:
    pen.polygon([(42, 98), (46, 58), (54, 58), (58, 98)], _WOODS[tint])
    pen.blob([(50, 4), (70, 12), (84, 30), (80, 52), (62, 66), (38, 66), (20, 52), (16, 30), (30, 12)], _GREENS[tint])
    for x, y in ((36, 28), (56, 22), (64, 44), (42, 48)):
        pen.curve([(x - 5, y), (x, y - 4), (x + 5, y)], shade(_GREENS[tint], 0.72), 2)


def _plant(pen: Pen, tint: int) -> None:
    for points in (
        [(50, 66), (38, 40), (20, 26), (8, 30), (22, 50), (44, 70)],
        [(50, 66), (62, 40), (80, 26), (92, 30), (78, 50), (56, 70)],
        [(50, 70), (38, 40), (42, 16), (50, 4), (58, 16), (62, 40)],
    ):
        pen.blob([(float(x), float(y)) for x, y in points], _GREENS[tint])
    pen.polygon([(26, 62), (74, 62), (68, 98), (32, 98)], _BLUSHES[tint])
    pen.box(23, 58, 77, 68, _BLUSHES[tint], radius=3)


def _lamp(pen: Pen, tint: int) -> None:
    pen.box(47, 26, 53, 94, _GREYS[tint])
    pen.box(40, 90, 60, 98, _GREYS[tint], radius=3)
    pen.polygon([(36, 28), (42, 8), (58, 8), (64, 28)], (244, 236, 200))
    pen.box(40, 3, 60, 9, _GREYS[tint], radius=3)


def _bench(pen: Pen, tint: int) -> None:
    for x in (16.0, 78.0):
        pen.box(x, 36, x + 6, 92, _GREYS[tint])
    for y in (34.0, 48.0, 64.0):
        pen.box(4, y, 96, y + 10, _WOODS[tint], radius=2)


def _cloud(pen: Pen, tint: int) -> None:
    pen.blob([(8, 68), (8, 52), (22, 46), (30, 30), (50, 26), (64, 38), (80, 38), (92, 54), (90, 68)], _PALES[tint])


def _cat(pen: Pen, tint: int) -> None:
    fur = _FURS[tint]
    pen.curve([(70, 90), (90, 84), (88, 62), (94, 52)], fur, 8, edge=True)
    pen.blob([(30, 97), (30, 70), (42, 52), (62, 52), (76, 72), (78, 97)], fur)
    pen.polygon([(26, 36), (26, 6), (42, 16), (58, 16), (74, 6), (74, 36)], fur)
    pen.ellipse(50, 36, 27, 22, fill=fur)
    for x in (39, 61):
        pen.ellipse(x, 33, 3.5, 4.5, fill=INK, edge=False, flat=True)
    pen.curve([(42, 44), (46, 47), (50, 43), (54, 47), (58, 44)], INK, 2)


def _sign(pen: Pen, tint: int) -> None:
    pen.box(46, 50, 54, 98, _WOODS[tint])
    pen.box(8, 10, 92, 54, _PALES[tint], radius=5)
    for y, end in ((22, 78), (32, 70), (42, 60)):
        pen.line([(20, y), (end, y)], shade(_PALES[tint], 0.6), 3)


def _ball(pen: Pen, tint: int) -> None:
    mask = pen.ellipse(50, 50, 46, fill=_PALES[tint])
    for x, y in ((50, 50), (50, 4), (4, 40), (96, 40), (22, 92), (78, 92)):
        pen.polygon(oval(x, y, 14, 14, -90, 270)[::8], (92, 94, 104), within=mask, edge=False)


def _bird(pen: Pen, tint: int) -> None:
    fur = _FURS[tint]
    pen.polygon([(64, 52), (94, 40), (92, 60)], shade(fur, 0.8))
    pen.blob([(10, 46), (22, 34), (44, 40), (70, 52), (58, 72), (34, 72), (18, 60)], fur)
    pen.blob([(36, 54), (46, 30), (74, 18), (70, 44), (54, 62)], shade(fur, 1.25))
    pen.polygon([(12, 44), (2, 50), (13, 52)], (214, 180, 110))
    pen.ellipse(21, 45, 2.6, fill=INK, edge=False)


def _kite(pen: Pen, tint: int) -> None:
    pen.curve([(50, 66), (58, 78), (46, 86), (54, 97)], shade(_GREYS[tint], 0.6), 2.4)
    pen.polygon([(50, 4), (80, 34), (50, 70), (20, 34)], _BLUSHES[tint])
    pen.line([(50, 4), (50, 70)], shade(_BLUSHES[tint], 0.6), 2)
    pen.line([(20, 34), (80, 34)], shade(_BLUSHES[tint], 0.6), 2)


def _rock(pen: Pen, tint: int) -> None:
    pen.polygon([(6, 90), (14, 60), (34, 40), (58, 36), (80, 54), (94, 90)], _GREYS[tint])
    pen.polygon([(34, 40), (58, 36), (52, 60), (26, 64)], shade(_GREYS[tint], 1.2), edge=False)


def _crate(pen: Pen, tint: int) -> None:
    pen.box(8, 14, 92, 96, _WOODS[tint], radius=2)
    pen.line([(18, 86), (82, 24)], shade(_WOODS[tint], 0.65), 7)
    for y in (14.0, 84.0):
        pen.box(8, y, 92, y + 12, shade(_WOODS[tint], 1.12), radius=2)


_PROPS: dict[str, Callable[[Pen, int], None]] = {
    "tree": _tree, "plant": _plant, "lamp": _lamp, "bench": _bench, "cloud": _cloud, "cat": _cat, "sign": _sign,
    "ball": _ball, "bird": _bird, "kite": _kite, "rock": _rock, "crate": _crate,
}  # fmt: skip

NAMES = tuple(_PROPS)
"""Names of all props."""

FRONT = ("plant", "sign", "ball", "cat", "rock", "crate", "bench")
"""Props that may stand in front of an entity."""


@cache
def prop(name: str, tint: int) -> Image.Image:
    """The look of a prop in one of `VARIANTS` tints, as RGBA without empty margins."""
    pen = Pen(100, 100, _SCALE, line=2.2)
    _PROPS[name](pen, tint)
    return cut(pen.image)


@cache
def banner(word: str, tint: int) -> Image.Image:
    """A banner with one of `WORDS` in one of `VARIANTS` tints, as RGBA without empty margins."""
    font = ImageFont.load_default(size=72)
    left, top, right, bottom = font.getbbox(word)
    width, height = right - left + 64, bottom - top + 48
    paper, ink = ((_PALES[0], INK), (shade(_GREYS[2], 0.5), _PALES[1]), (_PALES[2], (110, 84, 78)))[tint]
    pen = Pen(width + 12, height + 12, 1, line=5)
    pen.box(6, 6, 6 + width, 6 + height, paper, radius=16)
    ImageDraw.Draw(pen.image).text((38 - left, 30 - top), word, font=font, fill=ink)
    return cut(pen.image)
