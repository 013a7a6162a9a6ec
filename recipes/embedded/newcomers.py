"""Invented entities of pre-training: they teach the model to read new names and to find new looks.

A name is made of words in the form of an entity type, often of another type than its own, so that the type has to be
read from the words around the name. A look has the kind of a known entity in colours that no entity of that kind has.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from gmner.data.world.cast import Character, characters, handle_of, known
from gmner.data.world.looks import COLOURS, SKINS

OWN_FORM = 0.3
"""Share of invented names that always have the form of their own type; the others have that of a random type."""

CLUBS = 0.35
"""Share of clubs among invented organisations."""

_NEAR = 0.6
"""Share of invented looks whose first colour occurs among the known entities of their kind."""

_ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr r s sh sk st t th tr v w z".split()
_VOWELS = "a e i o u ai ea ie oo".split()
_CODAS = ("", "n", "r", "l", "s", "t", "m", "x", "nd", "rk")

_ADJECTIVES = (
    "Old New Red Green Golden Silver Grey White Black Bright Quiet Grand High Low Deep Lost Wild Little Great "
    "Royal Happy Lucky Swift Northern Southern Amber Violet Crimson Copper Frozen Hidden Broken Early Late Blue "
    "Pink"
).split()
_NOUNS = (
    "Sun Moon Star Fern Storm Night Day Fire Stone Wood Field River Lake Hill Cloud Wind Snow Frost Ice Light "
    "Shadow Lion Tiger Wolf Bear Fox Hawk Falcon Raven Swan Otter Robin Stag Rose Lily Thistle Clover Maple "
    "Cedar Willow Birch Apple Cherry Lemon Ginger Honey Pepper Harbour Anchor Arrow Lantern Mirror Crown Feather "
    "Marble Pearl Diamond Iron Steel Velvet Silk Echo Thunder Comet Planet Summit Valley Meadow Garden Orchard "
    "Bridge Gate Tower Wheel Hammer"
).split()
_HEADS = (
    "sun moon star fern storm night day fire stone river wind snow light wolf hawk rose north south bright high "
    "low deep"
).split()
_TAILS = (
    "field fall well wood light gate ford mere drift song bird craft works line stone berry fox wing beat port moor"
).split()
_SURNAMES = (
    "Stone Wood Field Rivers Hill Frost Fox Wolfe Hawk Swan Rose Thorne Marsh Brooks Lane Pike Reed Crane Hale "
    "Vale Snow Winter Summers Knight King Bishop Baker Carter Mason Miller Shepherd Archer Porter Glass Silver "
    "Gray Ward West"
).split()
_BEFORE_PLACES = "Port Cape Old San Mount Fort Lake Saint Upper New El North".split()
_AFTER_PLACES = (
    "Bay Point Hill Head Narrows Falls Ridge Cove Sands Harbour Heights Springs Park Island Beach Valley"
).split()
_FIRMS = (
    "FC Records Daily Air Motors Bank Airways Labs Cola TV Inn United Group News Foods Energy Studios Rovers "
    "City Radio Times Systems Hotels Rail Wanderers Athletic Express"
).split()
_WARES = (
    "GT X One Six Pro Mini Cup Prize Phone Max Trophy Award Medal Two Nine Plus Zero Ultra Tour Express Rider"
).split()


@cache
def known_set() -> frozenset[Character]:
    """The entities of pre-training that are not invented."""
    return frozenset(known())


def newcomer(rng: random.Random, like: Character | None = None) -> Character:
    """An invented entity with the type and kind of `like`, or of a random known entity."""
    like = like or rng.choice(known())
    form = like.type if rng.random() < OWN_FORM else rng.choice(list(_FORMS))
    while True:
        name, aliases = _FORMS[form](rng)
        if not _taken(name, *aliases):
            break
    group = ("club" if rng.random() < CLUBS else "firm") if like.type == "ORG" else ""
    return replace(
        _looking(like, rng), name=name, aliases=aliases, handle=handle_of(name, like.type), group=group, held_out=False
    )


def _looking(like: Character, rng: random.Random) -> Character:
    """The same kind in colours that no entity of this kind has."""
    alike = [who.colours for who in characters() if (who.type, who.kind) == (like.type, like.kind)]
    near = [first for first, _ in alike]
    while True:
        colours = rng.choice(near) if rng.random() < _NEAR else rng.choice(list(COLOURS)), rng.choice(list(COLOURS))
        if colours[0] != colours[1] and colours not in alike:
            break
    if like.type != "PER":
        return replace(like, colours=colours)
    model = rng.choice([who for who in known() if who.type == "PER"])
    skin = rng.choice(list(SKINS))
    return replace(like, colours=colours, skin=skin, garment=model.garment, accessory=model.accessory)


def _syllables(rng: random.Random) -> str:
    """A capitalised word of one to three syllables."""
    syllables = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice((1, 2, 2, 3)))]
    return ("".join(syllables) + rng.choice(_CODAS)).capitalize()


def _compound(rng: random.Random) -> str:
    return (rng.choice(_HEADS) + rng.choice(_TAILS)).capitalize()


def _word(rng: random.Random) -> str:
    return rng.choice((_syllables, _syllables, _compound, lambda r: r.choice(_NOUNS)))(rng)


_Name = tuple[str, tuple[str, ...]]
"""(name, aliases)."""


def _person(rng: random.Random) -> _Name:
    first = _syllables(rng)
    last = _syllables(rng) if rng.random() < 0.5 else rng.choice(_SURNAMES)
    initial = (f"{first[0]}. {last}",) if rng.random() < 0.25 else ()
    return f"{first} {last}", (first, *initial)


def _place(rng: random.Random) -> _Name:
    draw = rng.random()
    if draw < 0.4:
        return (_syllables(rng) if draw < 0.25 else _compound(rng)), ()
    word = _word(rng)
    return (f"{rng.choice(_BEFORE_PLACES)} {word}" if draw < 0.7 else f"{word} {rng.choice(_AFTER_PLACES)}"), (word,)


def _organisation(rng: random.Random) -> _Name:
    draw = rng.random()
    if draw < 0.35:
        return (_syllables(rng) if draw < 0.12 else _compound(rng)), ()
    if draw < 0.7:
        word, what = _word(rng), rng.choice(_FIRMS)
        return f"{word} {what}", (_initials(word, rng) if rng.random() < 0.2 else word,)
    words = f"{rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}"
    return words, ((_initials(words, rng),) if rng.random() < 0.4 else ())


def _thing(rng: random.Random) -> _Name:
    draw = rng.random()
    if draw < 0.3:
        return (_compound(rng) if draw < 0.2 else _syllables(rng)), ()
    if draw < 0.6:
        word = _word(rng)
        what = str(rng.randint(2, 9)) if rng.random() < 0.15 else rng.choice(_WARES)
        return f"{word} {what}", (word,)
    first, second = rng.choice(_ADJECTIVES if draw < 0.8 else _NOUNS), rng.choice(_NOUNS)
    return f"{first} {second}", ((second,) if rng.random() < 0.15 else ())


def _initials(words: str, rng: random.Random) -> str:
    """An abbreviation of two to four capitals that begins like the words."""
    letters = "".join(word[0] for word in words.split())
    return letters + "".join(rng.choices("ABCDEFGHIJKLMNOPRSTUVW", k=rng.randint(max(1, 2 - len(letters)), 2)))


_FORMS: dict[str, Callable[[random.Random], _Name]] = {
    "PER": _person, "LOC": _place, "ORG": _organisation, "OTHER": _thing,
}  # fmt: skip


def _taken(*surfaces: str) -> bool:
    """Whether one of these is the name of an entity, or has a word that only occurs in names that are held out."""
    named, held_out = _reserved()
    words = {word.lower() for surface in surfaces for word in re.findall(r"\w+", surface)}
    return any(surface.lower() in named for surface in surfaces) or bool(words & held_out)


@cache
def _reserved() -> tuple[frozenset[str], frozenset[str]]:
    """All names of the world, and the words of the held-out names that no known name has; in lower case."""

    def words(cast: Sequence[Character]) -> set[str]:
        return {word.lower() for who in cast for surface in who.surfaces for word in re.findall(r"\w+", surface)}

    held_out = words([who for who in characters() if who.held_out]) - words(known())
    return frozenset(surface.lower() for who in characters() for surface in who.surfaces), frozenset(held_out)
