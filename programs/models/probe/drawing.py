"""Draws the probe's images: simple shapes in known places, in sizes that separate the coordinate conventions."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from gmner.programs.models.families import ResizeRule
from gmner.programs.models.probe.questions import Question
from gmner.signatures.boxes import Box, Size
from gmner.signatures.mentions import Mention

SIZES: tuple[Size, ...] = (
    (182, 126), (126, 238), (294, 210), (210, 322), (406, 182), (238, 434), (518, 294), (350, 574),
    (640, 480), (756, 1288),
)  # fmt: skip
"""(width, height) in pixels. The sides of the first eight are odd multiples of 14, so that a resize to multiples of 28
changes each of them by up to 11 %. No size is square, or near to 100 or 1000."""

_LARGE: tuple[Size, ...] = ((1600, 1200), (1176, 1708))
_MOST_PIXELS = 4_000_000
# A resize limit above this is not exceeded: the images would take a server minutes, and a CPU hours.

COLOURS = {
    "red": (214, 32, 32), "blue": (34, 72, 214), "green": (24, 140, 56), "yellow": (244, 206, 22),
    "purple": (132, 40, 160), "orange": (244, 128, 20), "black": (20, 20, 20),
}  # fmt: skip
FIGURES = ("circle", "square", "triangle", "star", "diamond")
_BACKGROUND = (240, 240, 236)
_EACH = 3
_TRIES = 400


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawn image.

    Attributes:
        shown: Questions about the shapes that it shows.
        absent: A question about a shape whose colour and figure it does not show.
    """

    shown: tuple[Question, ...]
    absent: Question


def sizes_for(rule: ResizeRule | None) -> list[Size]:
    """A dozen sizes; if the resize limit allows it, two of them exceed it.

    Args:
        rule: How the model's processor resizes an image; None: not known.
    """
    large = _LARGE
    if rule is not None and rule.max_pixels <= _MOST_PIXELS:
        most = 1.8 * rule.max_pixels
        large = tuple(_scaled(size, max(1.0, math.sqrt(most / (size[0] * size[1])))) for size in _LARGE)
    return [*SIZES, *large]


def _scaled(size: Size, factor: float) -> Size:
    return round(size[0] * factor), round(size[1] * factor)


def draw(sizes: Sequence[Size], seed: int = 0) -> list[Drawing]:
    """Draw one image of each size with three shapes.

    The shapes of an image differ in colour and figure, do not touch, and have sides of about 30 % of its shorter side.
    Most are far from the top left corner, where conventions differ most.

    Args:
        sizes: (width, height) of the images, pixels.
        seed: Seed of places, colours and figures.
    """
    rng = random.Random(seed)
    return [_drawing(size, rng) for size in sizes]


def _drawing(size: Size, rng: random.Random) -> Drawing:
    picture = Image.new("RGB", size, _BACKGROUND)
    pen = ImageDraw.Draw(picture)
    colours, figures = (rng.sample(list(names), _EACH + 1) for names in (COLOURS, FIGURES))
    names = [f"{colour} {figure}" for colour, figure in zip(colours, figures, strict=True)]
    boxes = [
        _put(pen, figure, COLOURS[colour], place)
        for colour, figure, place in zip(colours, figures, _places(size, rng), strict=False)
    ]
    order = sorted(range(_EACH), key=lambda number: -boxes[number].x2 / size[0] - boxes[number].y2 / size[1])
    text = " and ".join(f"the {name}" for name in names[:_EACH])
    shown = tuple(_question(picture, text, names[number], boxes[number]) for number in order)
    return Drawing(shown, _question(picture, f"the {names[_EACH]}", names[_EACH], None))


def _question(picture: Image.Image, text: str, name: str, box: Box | None) -> Question:
    start = text.index(name)
    return Question(
        picture, text, Mention(name, start, start + len(name), "OTHER"), () if box is None else (box,), drawn=True
    )


def _places(size: Size, rng: random.Random) -> list[tuple[float, float, float]]:
    """Left, top and side of squares that do not touch; the first lies in the quarter at the bottom right."""
    width, height = size
    for _ in range(_TRIES):
        places: list[tuple[float, float, float]] = []
        for number in range(_EACH):
            side = rng.uniform(0.26, 0.34) * min(size)
            low = 0.5 if number == 0 else 0.04
            left = rng.uniform(low * width, 0.97 * width - side)
            top = rng.uniform(low * height, 0.97 * height - side)
            places.append((left, top, side))
        if not any(_touch(places[a], places[b]) for a in range(_EACH) for b in range(a)):
            return places
    return _columns(size)


def _columns(size: Size) -> list[tuple[float, float, float]]:
    """Places in three columns, or in three rows of an upright image."""
    side = 0.26 * min(size)
    wide = size[0] >= size[1]
    return [
        (0.97 * size[0] * (3 - n) / 3 - side, 0.6 * size[1], side)
        if wide
        else (0.6 * size[0], 0.97 * size[1] * (3 - n) / 3 - side, side)
        for n in range(_EACH)
    ]


def _touch(a: tuple[float, float, float], b: tuple[float, float, float]) -> bool:
    gap = 2 + 0.05 * max(a[2], b[2])
    return all(a[axis] < b[axis] + b[2] + gap and b[axis] < a[axis] + a[2] + gap for axis in (0, 1))


def _put(pen: ImageDraw.ImageDraw, figure: str, colour: tuple[int, int, int], place: tuple[float, float, float]) -> Box:
    """Draw a figure into a square and return its bounding box."""
    left, top, side = (float(round(value)) for value in place)
    if figure == "circle":
        pen.ellipse((left, top, left + side - 1, top + side - 1), fill=colour)
        return Box(left, top, left + side, top + side)
    corners = [(left + x * (side - 1), top + y * (side - 1)) for x, y in _corners(figure)]
    pen.polygon(corners, fill=colour)
    xs, ys = zip(*corners, strict=True)
    return Box(min(xs), min(ys), max(xs) + 1, max(ys) + 1)


def _corners(figure: str) -> list[tuple[float, float]]:
    """Corners of a figure in the unit square."""
    if figure == "square":
        return [(0, 0), (1, 0), (1, 1), (0, 1)]
    if figure == "triangle":
        return [(0.5, 0), (1, 1), (0, 1)]
    if figure == "diamond":
        return [(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)]
    points = [(0.5 if n % 2 == 0 else 0.2, math.pi * (n / 5 - 0.5)) for n in range(10)]
    return [(0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)) for radius, angle in points]
