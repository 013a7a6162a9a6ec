"""Layout of an image: sizes, positions without overlap, and sometimes one object in front of another."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

Rect = tuple[int, int, int, int]

_GAP = 3
_TRIES = 40
_WIDEST = 0.64
_HEIGHTS = {1: (0.32, 0.56), 2: (0.3, 0.56), 3: (0.28, 0.46), 4: (0.26, 0.4), 5: (0.24, 0.36), 6: (0.24, 0.32)}
"""Number of entities shown -> range of their heights as a share of the side."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An object of an image with its position.

    Attributes:
        look: RGBA cut-out, in the size that it has in the image.
        x: Left, pixels of the image.
        y: Top, pixels of the image.
        name: Name in the scene.
        type: Entity type; empty if the object is not an entity.
        attributes: Appearance in words.
    """

    look: Image.Image
    x: int
    y: int
    name: str
    type: str = ""
    attributes: tuple[str, ...] = ()

    @property
    def rect(self) -> Rect:
        """Box of the object: left, top, right, bottom in pixels of the image."""
        return self.x, self.y, self.x + self.look.width, self.y + self.look.height


def height_of(count: int, look: Image.Image, side: int, rng: random.Random) -> int:
    """Draw the height in pixels of one of `count` entities; wide looks get a smaller height within the range."""
    low, high = _HEIGHTS[min(max(count, 1), 6)]
    share = min(rng.uniform(low, high), max(low, _WIDEST * look.height / look.width))
    return round(share * side)


def shrunk(look: Image.Image, height: int) -> Image.Image:
    """Scale a look to a height in pixels."""
    width = max(1, round(look.width * height / look.height))
    return look.resize((width, height), Image.Resampling.HAMMING)


def free_spot(
    size: tuple[int, int], taken: Sequence[Rect], side: int, rng: random.Random, rows: tuple[float, float] = (0, 1)
) -> tuple[int, int] | None:
    """Draw a position for an object of `size` that overlaps none of `taken`.

    Args:
        size: Width and height in pixels.
        taken: Boxes that must not be overlapped.
        side: Width and height of the image.
        rng: Random number generator.
        rows: Vertical range for the object, as shares of the height of the image.

    Returns:
        Left and top, or None if no position was found.
    """
    right, top = side - size[0] - 1, round(rows[0] * side) + 1
    bottom = round(rows[1] * side) - size[1] - 1
    if right < 1 or bottom < top:
        return None
    for _ in range(_TRIES):
        x, y = rng.randint(1, right), rng.randint(top, bottom)
        if not any(_meet((x, y, x + size[0], y + size[1]), other) for other in taken):
            return x, y
    return None


def _meet(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] + _GAP and b[0] < a[2] + _GAP and a[1] < b[3] + _GAP and b[1] < a[3] + _GAP


def spots(sizes: Sequence[tuple[int, int]], side: int, rng: random.Random) -> list[tuple[int, int]] | None:
    """Draw positions for all objects without overlap; None if none were found after a few tries."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i][0] * sizes[i][1])
    for _ in range(6):
        placed: dict[int, tuple[int, int]] = {}
        taken: list[Rect] = []
        for i in order:
            spot = free_spot(sizes[i], taken, side, rng)
            if spot is None:
                break
            placed[i] = spot
            taken.append((*spot, spot[0] + sizes[i][0], spot[1] + sizes[i][1]))
        if len(placed) == len(sizes):
            return [placed[i] for i in range(len(sizes))]
    return None


def cell_height(count: int, look: Image.Image, side: int) -> int:
    """The maximum height in pixels with which a look fits a cell of `grid_spots` for `count` objects."""
    height = (side / _columns(count) - _GAP - 1) * look.height / look.width
    return int(min(height, _HEIGHTS[min(count, 6)][1] * side))


def _columns(count: int) -> int:
    return 2 if count <= 4 else 3


def grid_spots(sizes: Sequence[tuple[int, int]], side: int, rng: random.Random) -> list[tuple[int, int]]:
    """Draw positions in the cells of a grid with three columns (two for up to four objects), in random order."""
    columns = _columns(len(sizes))
    rows = -(-len(sizes) // columns)
    cells = rng.sample(range(columns * rows), len(sizes))
    wide, high = side / columns, side / rows
    return [
        (
            round((cell % columns) * wide + rng.uniform(0.2, 0.8) * max(0.0, wide - w)),
            round((cell // columns) * high + rng.uniform(0.2, 0.8) * max(0.0, high - h)),
        )
        for cell, (w, h) in zip(cells, sizes, strict=True)
    ]


def hidden(placed: Sequence[Placed], side: int) -> list[float]:
    """For each object, in drawing order, the share of its drawn pixels that later objects cover."""
    shares = []
    for i, thing in enumerate(placed):
        nearer = [other for other in placed[i + 1 :] if _cross(thing.rect, other.rect)]
        shares.append(_share(thing, nearer, side) if nearer else 0.0)
    return shares


def _cross(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _share(thing: Placed, nearer: Sequence[Placed], side: int) -> float:
    own, over = _mask(thing, side), np.zeros((side, side), dtype=bool)
    for other in nearer:
        over |= _mask(other, side)
    return float((own & over).sum() / max(1, own.sum()))


def _mask(thing: Placed, side: int) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    x1, y1, x2, y2 = thing.rect
    mask[y1:y2, x1:x2] = np.asarray(thing.look.getchannel("A")) > 127
    return mask


def before(victim: Placed, coverer: Placed, others: Sequence[Placed], side: int, rng: random.Random) -> Placed | None:
    """Move the coverer so that it covers 6 to 30 % of the victim and no other object; None if no position was found."""
    vx1, vy1, vx2, vy2 = victim.rect
    w, h = coverer.look.size
    for _ in range(_TRIES):
        x = rng.choice((vx1 - round(w * rng.uniform(0.35, 0.8)), vx2 - round(w * rng.uniform(0.2, 0.65))))
        y = rng.randint(vy1 - h // 4, max(vy1, vy2 - h // 3))
        moved = replace(coverer, x=x, y=y)
        inside = x >= 1 and y >= 1 and x + w < side and y + h < side
        if not inside or any(_meet(moved.rect, other.rect) for other in others):
            continue
        if 0.06 <= _share(victim, [moved], side) <= 0.3:
            return moved
    return None
