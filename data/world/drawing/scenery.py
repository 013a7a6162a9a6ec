"""Backdrops: pale and slightly blurred, so that they do not look like entities."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

from gmner.data.world.drawing.pen import mix, shade
from gmner.data.world.looks import RGB

_SKIES: tuple[tuple[RGB, RGB], ...] = (
    ((166, 200, 226), (226, 236, 240)),
    ((190, 196, 220), (240, 226, 216)),
    ((206, 196, 206), (246, 226, 206)),
    ((178, 206, 208), (232, 238, 228)),
    ((112, 124, 156), (190, 184, 196)),
)
_GROUNDS: tuple[RGB, ...] = ((176, 178, 182), (196, 190, 180), (164, 170, 172))
_GRASS: tuple[RGB, ...] = ((172, 192, 148), (158, 184, 154), (188, 194, 150))
_WALLS: tuple[RGB, ...] = ((226, 218, 206), (208, 216, 220), (222, 210, 214), (212, 220, 206), (200, 198, 210))


def backdrop(side: int, rng: random.Random) -> Image.Image:
    """Draw a random backdrop as RGB, `side` x `side` pixels."""
    image = rng.choice(_KINDS)(side, rng)
    return image.filter(ImageFilter.BoxBlur(rng.choice((1, 1.5, 2))))


def _gradient(side: int, top: RGB, bottom: RGB) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((side, side))
    return Image.composite(Image.new("RGB", (side, side), bottom), Image.new("RGB", (side, side), top), ramp)


def _jitter(colour: RGB, rng: random.Random) -> RGB:
    light = rng.randint(-10, 10)
    r, g, b = (min(255, max(0, v + light + rng.randint(-6, 6))) for v in colour)
    return (r, g, b)


def _sky(side: int, rng: random.Random) -> tuple[Image.Image, ImageDraw.ImageDraw, RGB]:
    """Draw a sky; returns the image, its drawing object, and the colour at the horizon."""
    top, bottom = (_jitter(colour, rng) for colour in rng.choice(_SKIES))
    image = _gradient(side, top, bottom)
    return image, ImageDraw.Draw(image), bottom


def _hill(draw: ImageDraw.ImageDraw, side: int, y: float, fill: RGB, rng: random.Random) -> None:
    phase, height, waves = rng.uniform(0, 6), rng.uniform(0.02, 0.07) * side, rng.uniform(0.7, 1.6)
    ridge = [(x, y - height * math.sin(phase + x / side * waves * 6.28)) for x in range(0, side + 9, 8)]
    draw.polygon([*ridge, (side, side), (0, side)], fill=fill)


def _street(side: int, rng: random.Random) -> Image.Image:
    image, draw, air = _sky(side, rng)
    horizon, x = rng.uniform(0.62, 0.8) * side, -rng.uniform(0, 20)
    while x < side:
        width, height = rng.uniform(26, 60), rng.uniform(0.15, 0.5) * side
        wall = mix(_jitter(rng.choice(_GREY_TOWN), rng), air, 0.45)
        draw.rectangle([x, horizon - height, x + width, horizon], fill=wall)
        for wy in range(int(horizon - height) + 8, int(horizon) - 8, 14):
            for wx in range(int(x) + 6, int(x + width) - 8, 12):
                draw.rectangle([wx, wy, wx + 5, wy + 6], fill=mix(wall, (250, 244, 220), 0.35))
        x += width + rng.choice((0, 2, 8))
    ground = _jitter(rng.choice(_GROUNDS), rng)
    draw.rectangle([0, horizon, side, side], fill=ground)
    draw.rectangle([0, horizon, side, horizon + 6], fill=shade(ground, 1.2))
    lane = horizon + 0.55 * (side - horizon)
    for start in range(int(rng.uniform(0, 40)) - 40, side, 56):
        draw.rectangle([start, lane, start + 28, lane + 5], fill=shade(ground, 1.25))
    return image


_GREY_TOWN: tuple[RGB, ...] = ((150, 156, 172), (172, 162, 160), (160, 168, 170), (186, 176, 170))


def _park(side: int, rng: random.Random) -> Image.Image:
    image, draw, air = _sky(side, rng)
    horizon, green = rng.uniform(0.5, 0.72) * side, _jitter(rng.choice(_GRASS), rng)
    _hill(draw, side, horizon - 0.04 * side, mix(green, air, 0.5), rng)
    for _ in range(rng.randint(4, 9)):
        x, r = rng.uniform(0, side), rng.uniform(12, 30)
        draw.ellipse([x - r, horizon - 1.3 * r, x + r, horizon + r], fill=mix(shade(green, 0.88), air, 0.4))
    _hill(draw, side, horizon + 0.08 * side, green, rng)
    bend, far = rng.uniform(0.2, 0.8) * side, horizon + 0.12 * side
    path = [(bend - 8, far), (bend + 8, far), (side * 0.75, side), (side * 0.3, side)]
    draw.polygon(path, fill=mix(green, (226, 214, 190), 0.6))
    return image


def _beach(side: int, rng: random.Random) -> Image.Image:
    image, draw, _ = _sky(side, rng)
    horizon, shore = rng.uniform(0.42, 0.55) * side, rng.uniform(0.62, 0.8) * side
    water = _jitter((158, 192, 204), rng)
    draw.rectangle([0, horizon, side, side], fill=water)
    for _ in range(14):
        x, y = rng.uniform(0, side), rng.uniform(horizon + 4, shore)
        draw.line([x, y, x + rng.uniform(12, 40), y], fill=shade(water, 1.3), width=2)
    _hill(draw, side, shore - 5, (240, 238, 230), rng)
    sand = _jitter((228, 212, 180), rng)
    _hill(draw, side, shore + 4, sand, rng)
    return image


def _hills(side: int, rng: random.Random) -> Image.Image:
    image, draw, air = _sky(side, rng)
    base = rng.uniform(0.4, 0.55) * side
    peaks = [(i * side / 5 - 20, base - rng.uniform(0, 0.22) * side * (i % 2)) for i in range(7)]
    draw.polygon([*peaks, (side + 60, side), (-20, side)], fill=mix((150, 160, 180), air, 0.55))
    for step, green in enumerate(rng.sample(_GRASS, 3)):
        _hill(draw, side, base + (0.06 + 0.14 * step) * side, mix(_jitter(green, rng), air, 0.35 - 0.15 * step), rng)
    return image


def _stage(side: int, rng: random.Random) -> Image.Image:
    dark = _jitter(rng.choice(((78, 74, 96), (70, 80, 98), (92, 76, 86))), rng)
    image = _gradient(side, shade(dark, 0.85), shade(dark, 1.15))
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(rng.randint(2, 4)):
        top, foot, r = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(30, 60)
        draw.polygon([(top - 5, 0), (top + 5, 0), (foot + r, side), (foot - r, side)], fill=(255, 246, 226, 30))
    floor = rng.uniform(0.74, 0.86) * side
    draw.rectangle([0, floor, side, side], fill=mix(dark, (150, 130, 116), 0.55))
    for x in range(-side, 2 * side, 40):
        draw.line([side / 2 + (x - side / 2) * 0.6, floor, x, side], fill=(0, 0, 0, 26), width=2)
    return image


def _room(side: int, rng: random.Random) -> Image.Image:
    wall = _jitter(rng.choice(_WALLS), rng)
    image = _gradient(side, shade(wall, 1.1), shade(wall, 0.95))
    draw = ImageDraw.Draw(image)
    floor = rng.uniform(0.7, 0.85) * side
    if rng.random() < 0.6:
        x, y = rng.uniform(0, 0.6) * side, rng.uniform(0.06, 0.2) * side
        w, h = rng.uniform(60, 110), rng.uniform(70, 110)
        draw.rectangle([x, y, x + w, y + h], fill=(214, 228, 236), outline=shade(wall, 1.5), width=5)
        draw.line([x + w / 2, y, x + w / 2, y + h], fill=shade(wall, 1.5), width=4)
    else:
        for x in range(int(rng.uniform(0, 30)), side, 36):
            draw.rectangle([x, 0, x + 12, floor], fill=shade(wall, 1.12))
    wood = mix(_jitter((188, 166, 144), rng), wall, 0.25)
    draw.rectangle([0, floor, side, side], fill=wood)
    draw.rectangle([0, floor - 6, side, floor], fill=shade(wall, 1.4))
    for y in range(int(floor) + 14, side, 16):
        draw.line([0, y, side, y], fill=shade(wood, 0.92), width=2)
    return image


def _stadium(side: int, rng: random.Random) -> Image.Image:
    image, draw, air = _sky(side, rng)
    top, field = rng.uniform(0.2, 0.3) * side, rng.uniform(0.62, 0.75) * side
    stand = mix(_jitter((150, 154, 168), rng), air, 0.3)
    draw.rectangle([0, top, side, field], fill=stand)
    for y in range(int(top) + 6, int(field) - 8, 9):
        for x in range(0, side, 9):
            spot = mix(stand, rng.choice(_WALLS), rng.uniform(0.1, 0.55))
            draw.ellipse([x, y, x + 5, y + 5], fill=spot)
    draw.rectangle([0, field - 10, side, field], fill=shade(stand, 1.35))
    grass = _jitter(rng.choice(_GRASS), rng)
    draw.rectangle([0, field, side, side], fill=grass)
    for x in range(int(rng.uniform(-60, 0)), side, 80):
        draw.polygon([(x, field), (x + 40, field), (x + 30, side), (x - 20, side)], fill=shade(grass, 1.1))
    return image


def _studio(side: int, rng: random.Random) -> Image.Image:
    wall = _jitter(rng.choice(_WALLS), rng)
    image = _gradient(side, shade(wall, rng.choice((1.25, 0.8))), wall)
    glow, r = Image.new("L", (side, side)), rng.uniform(0.3, 0.5) * side
    x, y = rng.uniform(0.3, 0.7) * side, rng.uniform(0.3, 0.6) * side
    ImageDraw.Draw(glow).ellipse([x - r, y - r, x + r, y + r], fill=70)
    soft = glow.resize((side // 8, side // 8)).filter(ImageFilter.GaussianBlur(5)).resize((side, side))
    image.paste((255, 250, 240), (0, 0, side, side), soft)
    return image


_KINDS: tuple[Callable[[int, random.Random], Image.Image], ...] = (
    _street, _park, _beach, _hills, _stage, _room, _stadium, _studio,
)  # fmt: skip
