"""Drawing of people: head and shoulders, which differ in hair, garment, skin and accessories."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gmner.data.world.cast import Character
from gmner.data.world.drawing.pen import INK, WHITE, Pen, Point, is_light, mix, oval, shade, smooth
from gmner.data.world.looks import COLOURS, RGB, SKINS

SIZE = (132.0, 146.0)
"""Width and height of the canvas of a person, in units."""

_X = 66.0
_FACE = (_X, 62.0, 26.0, 28.0)
_GOLD: RGB = (255, 205, 50)
_SCARF: RGB = (58, 74, 138)
_SLATE: RGB = (92, 102, 124)
_STUBBLE: RGB = (96, 62, 40)
_LASHES = ("long", "bun", "bob", "hijab", "pigtails")


def draw_person(pen: Pen, who: Character) -> None:
    """Draw a person on a canvas of `SIZE`."""
    hair, worn, skin = COLOURS[who.colours[0]], COLOURS[who.colours[1]], SKINS[who.skin]
    _BEHIND.get(who.kind, _nothing)(pen, hair)
    _GARMENTS[who.garment](pen, worn, skin)
    if who.kind == "long":
        _locks(pen, hair)
    if who.accessory == "scarf":
        _scarf(pen)
    if who.kind != "hijab":
        for side in (-1, 1):
            pen.ellipse(_X + 26 * side, 64, 5, 7, fill=shade(skin, 0.95))
    pen.ellipse(*_FACE, fill=skin)
    if who.accessory == "beard":
        _beard(pen, _STUBBLE if who.kind == "cap" else hair)
    _face(pen, skin, lashes=who.kind in _LASHES or who.garment == "dress")
    draw_accessory = _WORN.get(who.accessory, _nothing_worn)
    # A mohawk is above the band of the headphones, other hair is below it.
    if who.kind == "mohawk":
        draw_accessory(pen)
    _HAIR[who.kind](pen, hair)
    if who.kind != "mohawk":
        draw_accessory(pen)


def _nothing(pen: Pen, hair: RGB) -> None:
    """Most hair styles have no part behind the head."""


def _nothing_worn(pen: Pen) -> None:
    """Scarf and beard are drawn earlier, below the hair."""


def _mirrored(points: Sequence[Point]) -> list[Point]:
    """The points, followed by their mirror images in reverse order."""
    return [*points, *((2 * _X - x, y) for x, y in reversed(points))]


def _face(pen: Pen, skin: RGB, *, lashes: bool) -> None:
    blush = (226, 110, 100) if sum(skin) > 420 else (150, 70, 60)
    for side in (-1, 1):
        x = _X + 10.5 * side
        pen.ellipse(_X + 16 * side, 73, 4.6, 3, fill=mix(skin, blush, 0.4), edge=False, flat=True)
        pen.ellipse(x, 63, 3.7, 4.9, fill=INK, edge=False, flat=True)
        pen.ellipse(x - 1.2, 61.2, 1.3, 1.5, fill=WHITE, edge=False, flat=True)
        pen.curve([(x - 5.5, 54.5), (x, 52.6), (x + 5.5, 54.5)], shade(skin, 0.3), 2.2)
        if lashes:
            pen.line([(x + 2.5 * side, 60), (x + 6.5 * side, 57.6)], INK, 1.8)
    pen.curve([(_X - 1.5, 66), (_X + 2.2, 70), (_X - 1.5, 71)], shade(skin, 0.72), 1.8)
    mouth = [(_X - 8, 76), *oval(_X, 76, 8, 7.5, 180, 0)[1:-1], (_X + 8, 76)]
    within = pen.polygon(mouth, (140, 40, 52), flat=True)
    pen.box(_X - 7, 75, _X + 7, 78.2, WHITE, within=within, edge=False, flat=True)


def _neck(pen: Pen, skin: RGB) -> None:
    pen.box(_X - 10, 80, _X + 10, 106, shade(skin, 0.84), radius=4)


_TORSO = _mirrored([(8, 145), (9, 122), (16, 108), (32, 100), (50, 96)])


def _tee(pen: Pen, worn: RGB, skin: RGB) -> None:
    for side in (-1, 1):
        pen.box(_X + 47 * side - 9, 118, _X + 47 * side + 9, 145, skin, radius=2)
    pen.polygon(_mirrored([(26, 145), (26, 132), (6, 134), (8, 116), (18, 105), (34, 99), (52, 96)]), worn)
    pen.ellipse(_X, 97, 17, 12, fill=shade(worn, 0.66))
    pen.ellipse(_X, 95, 13, 9.5, fill=shade(skin, 0.84))
    _neck(pen, skin)
    for side in (-1, 1):
        pen.line([(_X + 39 * side, 122), (_X + 39 * side, 134)], shade(worn, 0.5), 1.6)


def _hoodie(pen: Pen, worn: RGB, skin: RGB) -> None:
    pen.blob(_mirrored([(30, 108), (28, 92), (36, 82), (52, 78)]), shade(worn, 0.7))
    body = pen.polygon(_TORSO, worn)
    _neck(pen, skin)
    pen.polygon([(46, 92), (_X, 114), (86, 92), (94, 100), (88, 112), (_X, 126), (44, 112), (38, 100)], worn)
    pen.polygon([(44, 145), (50, 132), (82, 132), (88, 145)], shade(worn, 0.72), within=body)
    string = shade(worn, 0.35) if is_light(worn) else WHITE
    for side in (-1, 1):
        pen.line([(_X + 8 * side, 118), (_X + 9 * side, 133)], string, 3)
        pen.line([(_X + 40 * side, 118), (_X + 38 * side, 145)], shade(worn, 0.5), 1.6)


def _suit(pen: Pen, worn: RGB, skin: RGB) -> None:
    pen.polygon(_mirrored([(8, 145), (8, 116), (14, 104), (34, 98), (50, 96)]), worn)
    pen.polygon([(50, 95), (82, 95), (70, 145), (62, 145)], WHITE)
    _neck(pen, skin)
    tie = (196, 44, 60) if is_light(worn) else (240, 190, 60)
    pen.polygon([(60, 106), (72, 106), (69, 114), (74, 136), (_X, 145), (58, 136), (63, 114)], tie)
    for side in (-1, 1):
        lapel = [(17, 94), (28, 104), (22, 112), (27, 116), (4, 145), (3, 145), (13, 104)]
        pen.polygon([(_X + x * side, y) for x, y in lapel], shade(worn, 0.72))
        pen.polygon([(_X + x * side, y) for x, y in [(9, 97), (16, 92), (14, 110), (2, 105)]], WHITE)
        pen.line([(_X + 43 * side, 122), (_X + 42 * side, 145)], shade(worn, 0.5), 1.6)


def _stripes(pen: Pen, worn: RGB, skin: RGB) -> None:
    body = pen.polygon(_TORSO, worn)
    other = _SLATE if is_light(worn) else WHITE
    for y in (104.0, 120.0, 136.0):
        pen.box(0, y, 132, y + 5.5, other, within=body, edge=False)
    pen.ellipse(_X, 97, 18, 10, fill=worn)
    pen.ellipse(_X, 94, 13, 8, fill=shade(skin, 0.84))
    _neck(pen, skin)
    for side in (-1, 1):
        pen.line([(_X + 40 * side, 120), (_X + 38 * side, 145)], INK, 1.6)


def _dress(pen: Pen, worn: RGB, skin: RGB) -> None:
    pen.polygon(_mirrored([(16, 145), (16, 120), (22, 109), (36, 103), (54, 98)]), skin)
    _neck(pen, skin)
    for side in (-1, 1):
        pen.line([(_X + 20 * side, 102), (_X + 24 * side, 120)], worn, 6, edge=True)
        pen.curve([(_X + 14 * side, 107), (_X + 7 * side, 109), (_X + 3 * side, 108)], shade(skin, 0.7), 1.6)
    bodice = [(26, 145), (24, 132), (27, 114), (37, 106), (52, 107), (_X - 1, 115)]
    dress = pen.polygon(_mirrored(bodice), worn)
    for x in (38.0, 52.0, 66.0, 80.0, 94.0):
        for y in (119.0, 139.0):
            dot = x + (7 if y > 130 else 0)
            pen.ellipse(dot, y, 2.3, fill=shade(worn, 0.6) if is_light(worn) else WHITE, within=dress, edge=False)
    pen.box(16, 127, 116, 132, shade(worn, 0.6), within=dress, edge=False)


_GARMENTS: dict[str, Callable[[Pen, RGB, RGB], None]] = {
    "tee": _tee, "hoodie": _hoodie, "suit": _suit, "stripes": _stripes, "dress": _dress,
}  # fmt: skip


def _long_behind(pen: Pen, hair: RGB) -> None:
    pen.blob(_mirrored([(24, 116), (21, 92), (26, 56), (36, 30), (54, 20)]), shade(hair, 0.8))


def _locks(pen: Pen, hair: RGB) -> None:
    for side in (-1, 1):
        lock = [(29, 58), (38, 66), (43, 90), (44, 108), (37, 120), (28, 112), (28, 92)]
        pen.blob([(_X + x * side, y) for x, y in lock], hair)


def _bun_behind(pen: Pen, hair: RGB) -> None:
    pen.blob(_mirrored([(36, 84), (28, 58), (38, 34)]), shade(hair, 0.8))


def _bob_behind(pen: Pen, hair: RGB) -> None:
    pen.polygon(_mirrored([(20, 96), (26, 62), (34, 34), (52, 24)]), shade(hair, 0.75))


def _curls_behind(pen: Pen, hair: RGB) -> None:
    for x, y in ((33, 84), (99, 84), (29, 68), (103, 68), (40, 46), (92, 46)):
        pen.ellipse(x, y, 13, fill=shade(hair, 0.85))


def _afro_behind(pen: Pen, hair: RGB) -> None:
    ring = [oval(_X, 50, 49 + 2.5 * (i % 2), 46 + 2.5 * (i % 2), 15 * i, 15 * i + 15)[0] for i in range(24)]
    pen.blob(ring, hair)


def _hijab_behind(pen: Pen, hair: RGB) -> None:
    pen.blob(_mirrored([(34, 100), (29, 60), (38, 32), (56, 22)]), shade(hair, 0.75))


def _tails_behind(pen: Pen, hair: RGB) -> None:
    for side in (-1, 1):
        tail = [(26, 40), (40, 32), (54, 44), (58, 68), (54, 92), (46, 104), (42, 84), (34, 62)]
        pen.blob([(_X + x * side, y) for x, y in tail], hair)
        pen.curve([(_X + x * side, y) for x, y in [(40, 46), (48, 62), (48, 84)]], shade(hair, 0.65), 1.8)
    pen.ellipse(_X, 52, 34, 32, fill=shade(hair, 0.85))


_BEHIND: dict[str, Callable[[Pen, RGB], None]] = {
    "long": _long_behind, "bun": _bun_behind, "bob": _bob_behind, "curly": _curls_behind, "afro": _afro_behind,
    "hijab": _hijab_behind, "pigtails": _tails_behind,
}  # fmt: skip


def _shine(pen: Pen, hair: RGB, points: list[Point]) -> None:
    pen.curve(points, shade(hair, 1.3), 3)


def _short(pen: Pen, hair: RGB) -> None:
    quiff = [
        (38, 66), (34, 44), (38, 26), (50, 14), (70, 8), (88, 10), (84, 16), (96, 22), (99, 40), (94, 66), (90, 52),
        (82, 42), (66, 44), (52, 42), (44, 50), (41, 60),
    ]  # fmt: skip
    pen.blob([(float(x), float(y)) for x, y in quiff], hair)
    _shine(pen, hair, [(46, 30), (58, 21), (72, 18)])


def _parted(pen: Pen, hair: RGB) -> None:
    for side in (1, -1):
        half = [(4, 24), (20, 24), (32, 38), (34, 66), (28, 72), (23, 52), (6, 40), (-6, 32)]
        pen.blob([(_X + x * side - 4, y) for x, y in half], hair)
    _shine(pen, hair, [(42, 44), (48, 34), (56, 30)])


def _bun(pen: Pen, hair: RGB) -> None:
    pen.ellipse(_X, 21, 23, 18.5, fill=hair)
    pen.curve([(54, 20), (62, 12), (74, 12)], shade(hair, 0.6), 2)
    pen.curve([(60, 26), (72, 22), (78, 14)], shade(hair, 0.6), 2)
    fringe = [(91.0, 58.0), (84.0, 46.0), (66.0, 42.0), (48.0, 46.0), (41.0, 58.0)]
    pen.blob(_mirrored([(38, 72), (31, 56), (34, 36), (48, 27)]) + fringe, hair)
    pen.line([(54, 32), (78, 32)], WHITE if not is_light(hair) else shade(hair, 0.5), 4, edge=True)


def _curly(pen: Pen, hair: RGB) -> None:
    for x, y, r in ((34.0, 52, 12), (98.0, 52, 12), (42.0, 34, 13), (90.0, 34, 13), (54.0, 22, 13), (78.0, 22, 13)):
        pen.ellipse(x, y, r, fill=hair)
    pen.polygon(oval(_X, 46, 28, 22, 190, 350), hair, edge=False)
    for x, y, r in ((_X, 30, 14), (50, 41, 9), (82, 41, 9), (_X, 42, 9)):
        pen.ellipse(x, y, r, fill=hair)
        pen.polygon(oval(x, y, r * 0.45, r * 0.45, 180, 330), shade(hair, 1.25), edge=False, flat=True)


def _cap(pen: Pen, hair: RGB) -> None:
    for side in (-1, 1):
        pen.box(_X + 26 * side - 4, 44, _X + 26 * side + 4, 64, _STUBBLE, radius=3)
    pen.polygon([(34, 50), *oval(_X, 46, 33, 36, 180, 360), (98, 50)], hair)
    pen.polygon([(56, 50), *oval(_X, 46, 12, 26, 200, 340), (76, 50)], shade(hair, 1.45), edge=False)
    pen.ellipse(_X, 10, 4.5, 3, fill=hair)
    pen.blob([(32, 46), (66, 43), (104, 44), (124, 52), (120, 57), (90, 54), (60, 54), (33, 54)], shade(hair, 0.68))


def _bob(pen: Pen, hair: RGB) -> None:
    for side in (-1, 1):
        pane = [(20, 44), (34, 36), (41, 62), (46, 95), (24, 97), (23, 76)]
        pen.polygon([(_X + x * side, y) for x, y in pane], hair)
    pen.polygon([(30, 56), *oval(_X, 50, 36, 32, 185, 355), (102, 56), (90, 52), (42, 52)], hair)
    _shine(pen, hair, [(42, 36), (54, 27), (70, 25)])


def _mohawk(pen: Pen, hair: RGB) -> None:
    for side in (-1, 1):
        start = 160 if side < 0 else 220
        pen.polygon(oval(_X + 15 * side, 50, 11, 15, start, start + 160), _STUBBLE, edge=False)
    crest = [
        (48, 55), (40, 38), (28, 34), (37, 25), (30, 12), (45, 13), (50, 0), (62, 9), (74, -1), (82, 11), (99, 8),
        (94, 23), (104, 32), (92, 38), (84, 55), (66, 47),
    ]  # fmt: skip
    pen.polygon([(float(x), y + 4.0) for x, y in crest], hair)
    for x in (52, 66, 80):
        pen.line([(_X + (x - _X) * 0.8, 42), (x, 18)], shade(hair, 0.62), 2)


def _afro(pen: Pen, hair: RGB) -> None:
    hairline = [(90.0, 52.0), (80.0, 43.0), (66.0, 41.0), (52.0, 43.0), (42.0, 52.0)]
    pen.blob(_mirrored([(38, 66), (36, 44), (50, 30)]) + hairline, hair, edge=False)
    pen.curve([(40, 62), *hairline[::-1], (92, 62)], INK, 1.7)
    for x, y in ((36, 30), (54, 16), (78, 17), (96, 32), (28, 54), (104, 55)):
        pen.polygon(oval(x, y, 6, 6, 180, 320), shade(hair, 1.18), edge=False, flat=True)


def _hijab(pen: Pen, hair: RGB) -> None:
    outer = smooth([*_mirrored([(32, 106), (28, 88), (28, 52), (40, 26), (58, 17)]), (88, 113), (_X, 117), (44, 113)])
    inner = smooth(_mirrored([(52, 42), (43, 54), (43, 70), (52, 85), (62, 90)]))
    for rim in (outer, inner):
        pen.line([*rim, rim[0]], INK, 3.4)
    pen.polygon([*outer, outer[0], *inner[::-1], inner[-1]], hair, edge=False)
    for fold in ([(38, 84), (54, 102), (88, 110)], [(94, 80), (80, 96), (62, 104)], [(52, 26), (42, 38), (37, 58)]):
        pen.curve(fold, shade(hair, 0.6), 2.2)


def _pigtails(pen: Pen, hair: RGB) -> None:
    for side in (1, -1):
        half = [(2, 26), (18, 24), (31, 38), (32, 62), (27, 64), (22, 50), (8, 42), (-3, 38)]
        pen.blob([(_X + x * side, y) for x, y in half], hair)
        pen.ellipse(_X + 33 * side, 41, 5.5, fill=(232, 70, 110) if hair != COLOURS["red"] else WHITE)
    _shine(pen, hair, [(44, 40), (50, 33), (58, 30)])


_HAIR: dict[str, Callable[[Pen, RGB], None]] = {
    "short": _short, "long": _parted, "bun": _bun, "curly": _curly, "cap": _cap, "bob": _bob, "mohawk": _mohawk,
    "afro": _afro, "hijab": _hijab, "pigtails": _pigtails,
}  # fmt: skip


def _beard(pen: Pen, hair: RGB) -> None:
    jaw = [(39, 62), (40, 78), (50, 94), (58, 99)]
    inner = [(58, 71), (48, 72), (44, 64)]
    pen.blob([*_mirrored(jaw), *((2 * _X - x, y) for x, y in reversed(inner)), *inner], hair)


def _glasses(pen: Pen) -> None:
    for side in (-1, 1):
        x = _X + 12 * side
        pen.line(oval(x, 63, 10, 10), INK, 4)
        pen.line([(x - 5, 66), (x - 1, 58)], WHITE, 2)
        pen.line([(_X + 22 * side, 61), (_X + 29 * side, 59)], INK, 4)
    pen.line([(_X - 3, 62), (_X + 3, 62)], INK, 4)


def _earrings(pen: Pen) -> None:
    for side in (-1, 1):
        pen.line(oval(_X + 30 * side, 81, 7, 8.5), _GOLD, 4.5, edge=True)


def _headphones(pen: Pen) -> None:
    pen.line(oval(_X, 58, 36, 44, 190, 350), (236, 240, 246), 6.5, edge=True)
    for side in (-1, 1):
        pen.box(_X + 33 * side - 8, 48, _X + 33 * side + 8, 80, (236, 240, 246), radius=7)
        pen.box(_X + 33 * side - 3, 54, _X + 33 * side + 3, 74, (60, 190, 220), radius=3)


_WORN: dict[str, Callable[[Pen], None]] = {"glasses": _glasses, "earrings": _earrings, "headphones": _headphones}


def _scarf(pen: Pen) -> None:
    tail = pen.polygon([(80, 100), (96, 100), (99, 130), (82, 130)], _SCARF)
    for y in (114.0, 124.0):
        pen.box(70, y, 110, y + 4, (246, 226, 180), within=tail, edge=False)
    wrap = pen.blob([*_mirrored([(37, 101), (38, 92), (48, 87)]), (84, 106), (66, 109), (48, 106)], _SCARF)
    for x in (44.0, 64.0, 84.0):
        pen.polygon([(x, 80), (x + 6, 80), (x + 2, 124), (x - 4, 124)], (246, 226, 180), within=wrap, edge=False)
