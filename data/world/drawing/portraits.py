"""Looks of the entities as sharp cut-outs; each is drawn once, and images scale it down."""

from __future__ import annotations

from functools import lru_cache

from PIL import Image

from gmner.data.world.cast import Character
from gmner.data.world.drawing import landmarks, logos, people, things
from gmner.data.world.drawing.pen import Pen

_SCALE = 2.8
_DRAWERS = {
    "PER": (people.SIZE, people.draw_person),
    "LOC": (landmarks.SIZE, landmarks.draw_landmark),
    "ORG": (logos.SIZE, logos.draw_logo),
    "OTHER": (things.SIZE, things.draw_thing),
}


@lru_cache(maxsize=512)
def portrait(who: Character) -> Image.Image:
    """The look of an entity as RGBA, 300 to 410 pixels high, without empty margins."""
    size, draw = _DRAWERS[who.type]
    pen = Pen(*size, scale=_SCALE)
    draw(pen, who)
    return cut(pen.image)


def cut(image: Image.Image) -> Image.Image:
    """Crop the empty margins of an image."""
    return image.crop(image.getchannel("A").getbbox())
