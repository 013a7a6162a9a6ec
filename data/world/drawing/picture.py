"""`picture`: draws an image of entities with a backdrop, props, sometimes a banner, and camera noise."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from gmner.data.post import SceneObject
from gmner.data.world.cast import Character
from gmner.data.world.drawing.layout import (
    Placed,
    before,
    cell_height,
    free_spot,
    grid_spots,
    height_of,
    hidden,
    shrunk,
    spots,
)
from gmner.data.world.drawing.portraits import portrait
from gmner.data.world.drawing.props import FRONT, HIGH, NAMES, VARIANTS, WORDS, banner, prop
from gmner.data.world.drawing.scenery import backdrop
from gmner.signatures.boxes import Box

SIDE = 320
"""Width and height of an image in pixels."""

MOST = 6
"""Maximum number of entities in an image."""

_COVERED = 0.27
_ROUNDS = 12
_TEXT = 0.1
_FLAWED = 1 / 3


def picture(shown: Sequence[Character], rng: random.Random) -> tuple[Image.Image, tuple[SceneObject, ...]]:
    """Draw an image of entities.

    Args:
        shown: The entities, at most `MOST`; an entity that occurs twice is drawn twice.
        rng: Random number generator; the same state produces the same image.

    Returns:
        An RGB image of `SIDE` x `SIDE` pixels, and its scene, sorted by left and top. The scene contains one object for
        each entity, prop and banner. Props and banners have an empty `type`; a banner has the name `text` and its word
        as attribute. Boxes are in pixels of the image and tight around the whole object, including covered parts.
        `covered` is the share of the drawn pixels of the object (not of its box) that nearer objects cover, and `depth`
        its position in the drawing order.

    Raises:
        ValueError: There are more than `MOST` entities.
    """
    if len(shown) > MOST:
        raise ValueError(f"An image shows at most {MOST} entities, not {len(shown)}")
    image = backdrop(SIDE, rng)
    things = _cover(_props(_entities(shown, rng), rng), rng)
    for thing in things:
        image.paste(thing.look, (thing.x, thing.y), thing.look)
    return _photographed(image, rng), _scene(things)


def _entities(shown: Sequence[Character], rng: random.Random) -> list[Placed]:
    """Place the entities at random positions, or in a grid if they are too many for that."""
    looks = [_mirrored(who, rng) for who in shown]
    heights = [height_of(len(shown), look, SIDE, rng) for look in looks]
    places = spots(_sizes(looks, heights), SIDE, rng)
    if places is None:
        heights = [
            min(height, cell_height(len(shown), look, SIDE)) for look, height in zip(looks, heights, strict=True)
        ]
        places = grid_spots(_sizes(looks, heights), SIDE, rng)
    return [
        Placed(shrunk(look, height), x, y, who.name, who.type, who.attributes)
        for who, look, height, (x, y) in zip(shown, looks, heights, places, strict=True)
    ]


def _mirrored(who: Character, rng: random.Random) -> Image.Image:
    look = portrait(who)
    return ImageOps.mirror(look) if rng.random() < 0.5 and who.type != "ORG" else look


def _sizes(looks: Sequence[Image.Image], heights: Sequence[int]) -> list[tuple[int, int]]:
    return [
        (max(1, round(look.width * height / look.height)), height) for look, height in zip(looks, heights, strict=True)
    ]


def _props(entities: list[Placed], rng: random.Random) -> list[Placed]:
    """Add up to three props and sometimes a banner behind the entities, if there is space."""
    things = list(entities)
    for name in rng.sample(NAMES, rng.choice((0, 1, 1, 2, 2, 3))):
        look = _prop_look(name, (0.12, 0.22), rng)
        rows = (0.0, 0.5) if name in HIGH else (0.4, 1.0)
        spot = free_spot(look.size, [thing.rect for thing in things], SIDE, rng, rows)
        if spot is not None:
            things.insert(0, Placed(look, *spot, name))
    if rng.random() < _TEXT:
        word = rng.choice(WORDS)
        look = shrunk(banner(word, rng.randrange(VARIANTS)), round(rng.uniform(0.08, 0.13) * SIDE))
        spot = free_spot(look.size, [thing.rect for thing in things], SIDE, rng)
        if spot is not None:
            things.insert(0, Placed(look, *spot, "text", "", (word,)))
    return things


def _prop_look(name: str, heights: tuple[float, float], rng: random.Random) -> Image.Image:
    return shrunk(prop(name, rng.randrange(VARIANTS)), round(rng.uniform(*heights) * SIDE))


def _cover(things: list[Placed], rng: random.Random) -> list[Placed]:
    """In a quarter of the images with two or more objects, move one of them or a new prop in front of an entity."""
    entities = [thing for thing in things if thing.type]
    if len(things) < 2 or not entities or rng.random() >= _COVERED:
        return things
    for _ in range(_ROUNDS):
        victim = rng.choice(entities)
        others = [thing for thing in entities if thing is not victim]
        coverer = rng.choice(others) if others and rng.random() < 0.6 else _front_prop(rng)
        rest = [thing for thing in things if thing is not victim and thing is not coverer]
        moved = before(victim, coverer, rest, SIDE, rng)
        if moved is not None:
            return [*rest, victim, moved]
    return things


def _front_prop(rng: random.Random) -> Placed:
    name = rng.choice(FRONT)
    return Placed(_prop_look(name, (0.15, 0.23), rng), 0, 0, name)


def _scene(things: Sequence[Placed]) -> tuple[SceneObject, ...]:
    scene = [
        SceneObject(thing.name, thing.type, Box(*map(float, thing.rect)), thing.attributes, covered, depth)
        for depth, (thing, covered) in enumerate(zip(things, hidden(things, SIDE), strict=True))
    ]
    return tuple(sorted(scene, key=lambda thing: (thing.box.x1, thing.box.y1)))


def _photographed(image: Image.Image, rng: random.Random) -> Image.Image:
    """Add noise, and in a third of the images also change brightness, contrast and focus."""
    if rng.random() < _FLAWED:
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.84, 1.12))
        image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.82, 1.15))
        if rng.random() < 0.5:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    grain = np.random.default_rng(rng.getrandbits(32)).standard_normal((SIDE, SIDE, 1), dtype=np.float32)
    noisy = np.asarray(image, dtype=np.float32) + grain * rng.uniform(1.5, 4.5)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
