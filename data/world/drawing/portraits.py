"""Every look, drawn once: a sharp cut-out that images shrink to the size they need."""

from __future__ import annotations

from functools import cache

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


@cache
def portrait(who: Character) -> Image.Image:
    """The look of an entity, RGBA, 300 to 410 pixels high, cut to what is drawn: it touches all four sides."""
    size, draw = _DRAWERS[who.type]
    pen = Pen(*size, scale=_SCALE)
    draw(pen, who)
    return cut(pen.image)


def cut(image: Image.Image) -> Image.Image:
    """The image without its empty margins."""
    return image.crop(image.getchannel("A").getbbox())
