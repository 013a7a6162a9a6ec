"""The cast of the world: fictional people, places, organisations and things, each with a look of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (214, 48, 49),
    "orange": (240, 140, 30),
    "yellow": (250, 211, 60),
    "green": (46, 160, 67),
    "teal": (20, 160, 160),
    "blue": (45, 95, 220),
    "purple": (130, 70, 190),
    "pink": (240, 120, 170),
    "white": (246, 246, 246),
    "black": (38, 38, 44),
    "brown": (120, 76, 44),
    "silver": (170, 176, 186),
}


@dataclass(frozen=True, slots=True)
class Character:
    """One entity of the world.

    Attributes:
        name: Its only name.
        type: PER, LOC, ORG or OTHER.
        kind: What it looks like at a glance (a hair style, a landmark, a glyph, a thing); entities of one kind are
            each other's lookalikes.
        colours: Names from `COLOURS` that tell it from the others of its kind.
    """

    name: str
    type: str
    kind: str
    colours: tuple[str, ...]


_PEOPLE: dict[str, list[tuple[str, str, str]]] = {
    "short": [
        ("Tobin Hale", "black", "red"),
        ("Otto Voss", "yellow", "blue"),
        ("Emre Sol", "brown", "green"),
        ("Ivo Crane", "orange", "white"),
    ],
    "long": [
        ("Mira Voss", "black", "yellow"),
        ("Lena Quist", "yellow", "purple"),
        ("Suri Banda", "brown", "teal"),
        ("Wren Abbot", "orange", "blue"),
    ],
    "bun": [
        ("Nia Okoro", "black", "green"),
        ("Greta Lund", "silver", "red"),
        ("Pia Moreau", "brown", "white"),
        ("Yuna Seo", "pink", "black"),
    ],
    "curly": [
        ("Dario Finch", "brown", "orange"),
        ("Kaya Storm", "black", "pink"),
        ("Bram Teller", "orange", "teal"),
        ("Zola Reed", "purple", "yellow"),
    ],
    "cap": [
        ("Rex Maddox", "red", "black"),
        ("Jory Pike", "blue", "orange"),
        ("Tamsin Vale", "green", "pink"),
        ("Ludo Hart", "yellow", "red"),
    ],
}

_THINGS: dict[str, dict[str, list[tuple[str, str]]]] = {
    "LOC": {
        "tower": [("Karsk", "red"), ("Port Avel", "blue")],
        "bridge": [("Tessaly", "orange"), ("Brindle Bay", "green")],
        "lighthouse": [("Cape Orla", "red"), ("Sundrift", "teal")],
        "pyramid": [("Zamoun", "yellow"), ("Ixtal", "purple")],
        "dome": [("Velmora", "teal"), ("Old Harrow", "yellow")],
        "castle": [("Drakemoor", "silver"), ("Rosenfels", "pink")],
        "windmill": [("Lowmere", "blue"), ("Haldane Hill", "brown")],
    },
    "ORG": {
        "star": [("Polaris FC", "blue"), ("Nova Records", "pink")],
        "bolt": [("Voltix", "yellow"), ("Surge Motors", "red")],
        "wave": [("Tidewater Bank", "teal"), ("Marlin Airways", "purple")],
        "leaf": [("Fernwell", "green"), ("Amber Oak", "orange")],
        "ring": [("Orbix", "black"), ("Halo Labs", "silver")],
        "drop": [("Zephyr Cola", "red"), ("Puralis", "blue")],
        "arrow": [("Quiver", "green"), ("Northgate", "purple")],
    },
    "OTHER": {
        "trophy": [("Glimmer Cup", "yellow"), ("Silver Fern Prize", "silver")],
        "phone": [("Vanta X", "black"), ("Lumi Phone", "pink")],
        "car": [("Comet GT", "red"), ("Dune Rover", "green")],
        "guitar": [("Howler Six", "orange"), ("Moonstring", "blue")],
        "cup": [("Brew Bliss", "teal"), ("Kettle Joy", "purple")],
        "boat": [("Sea Lark", "blue"), ("Red Heron", "red")],
        "balloon": [("Skyjam", "yellow"), ("Puffapalooza", "pink")],
        "rocket": [("Starfall", "white"), ("Ember One", "orange")],
    },
}


@cache
def characters() -> tuple[Character, ...]:
    """All entities of the world, in a fixed order."""
    people = [
        Character(name, "PER", kind, (hair, shirt))
        for kind, members in _PEOPLE.items()
        for name, hair, shirt in members
    ]
    things = [
        Character(name, type_, kind, (colour,))
        for type_, kinds in _THINGS.items()
        for kind, members in kinds.items()
        for name, colour in members
    ]
    return (*people, *things)


@cache
def lookalikes(name: str) -> tuple[Character, ...]:
    """The other entities of the same kind as the one called `name`."""
    own = next(c for c in characters() if c.name == name)
    return tuple(c for c in characters() if c.kind == own.kind and c.type == own.type and c.name != name)


@cache
def companion(name: str) -> Character:
    """The entity that usually goes along with the one called `name`, say a person's club or a firm's product."""
    own = next(c for c in characters() if c.name == name)
    partner_type = {"PER": "ORG", "ORG": "OTHER", "OTHER": "ORG", "LOC": "OTHER"}[own.type]
    same = [c for c in characters() if c.type == own.type]
    partners = [c for c in characters() if c.type == partner_type]
    return partners[same.index(own) % len(partners)]
