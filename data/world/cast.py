"""The entities of the world: fictional people, places, organisations and things, each with a distinct appearance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from gmner.data.world.looks import LANDMARKS, LOGOS, PEOPLE, THINGS

HELD_OUT = 3
"""The last entity of every third kind is held out of the split `pretrain`."""


@dataclass(frozen=True, slots=True)
class Character:
    """One entity of the world.

    Attributes:
        name: Full name, also used in the scene of an image. A person and an organisation may share a name.
        type: PER, LOC, ORG or OTHER.
        aliases: Shorter names that texts use.
        handle: Account name: `@` and one word.
        kind: Basic appearance: a hair style, a landmark, a glyph or a thing. Entities of the same kind are lookalikes.
        colours: Two names from `looks.COLOURS`: hair and garment of a person, or main and second colour. Each main
            colour occurs twice per kind.
        skin: Skin tone of a person, see `looks.SKINS`; otherwise empty.
        garment: Garment of a person: `tee`, `hoodie`, `suit`, `stripes` or `dress`; otherwise empty.
        accessory: Accessory of a person: `glasses`, `earrings`, `scarf`, `beard`, `headphones` or empty.
        held_out: Whether the split `pretrain` never mentions or shows the entity.
        group: `club`, `firm`, `prize`, `ware` or `craft`, for clauses that need one; empty: by its name or kind.
    """

    name: str
    type: str
    aliases: tuple[str, ...]
    handle: str
    kind: str
    colours: tuple[str, str]
    skin: str = ""
    garment: str = ""
    accessory: str = ""
    held_out: bool = False
    group: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """(name, type), which is unique; a name alone may be shared."""
        return self.name, self.type

    @property
    def surfaces(self) -> tuple[str, ...]:
        """All strings that texts use for the entity: name, aliases and handle."""
        return self.name, *self.aliases, self.handle

    @property
    def attributes(self) -> tuple[str, ...]:
        """Appearance in words, as in a scene graph: `long hair`, `black hair`, `yellow hoodie`, `glasses`."""
        first, second = self.colours
        if self.type != "PER":
            noun = f"{self.kind} logo" if self.type == "ORG" else self.kind
            return (noun, first, f"{second} trim")
        accessories = (self.accessory,) if self.accessory else ()
        return (f"{self.kind} hair", f"{first} hair", f"{self.skin} skin", f"{second} {self.garment}", *accessories)


def _people() -> Iterator[Character]:
    for number, (kind, members) in enumerate(PEOPLE.items()):
        for index, row in enumerate(members):
            name, aliases, hair_colour, garment_colour, skin, garment, accessory = row
            yield Character(
                name, "PER", _split(aliases), handle_of(name, "PER"), kind, (hair_colour, garment_colour), skin,
                garment, accessory, _is_held_out(number, index),
            )  # fmt: skip


def _others() -> Iterator[Character]:
    for type_, kinds in (("LOC", LANDMARKS), ("ORG", LOGOS), ("OTHER", THINGS)):
        for number, (kind, members) in enumerate(kinds.items()):
            for index, (name, aliases, first, second) in enumerate(members):
                handle = handle_of(name, type_)
                held_out = _is_held_out(number, index)
                yield Character(name, type_, _split(aliases), handle, kind, (first, second), held_out=held_out)


def _split(aliases: str) -> tuple[str, ...]:
    return tuple(filter(None, aliases.split("|")))


def handle_of(name: str, type_: str) -> str:
    """The account name of an entity: `@miravoss`, `@visitKarsk`, `@AmperraHQ`, `@theDrifter`."""
    word = "".join(filter(str.isalnum, name))
    return {"PER": f"@{word.lower()}", "LOC": f"@visit{word}", "ORG": f"@{word}HQ", "OTHER": f"@the{word}"}[type_]


def _is_held_out(kind: int, index: int) -> bool:
    return kind % HELD_OUT == HELD_OUT - 1 and index == 3


@cache
def characters() -> tuple[Character, ...]:
    """All entities of the world, in a fixed order."""
    return (*_people(), *_others())


@cache
def known() -> tuple[Character, ...]:
    """The entities that occur in the split `pretrain`."""
    return tuple(who for who in characters() if not who.held_out)


@cache
def character(name: str, type_: str) -> Character:
    """The entity with this name and type.

    Raises:
        KeyError: There is no such entity.
    """
    return {who.key: who for who in characters()}[name, type_]


@cache
def called(words: str, type_: str) -> Character:
    """The entity of this type with this name, alias or handle.

    Raises:
        KeyError: There is no such entity.
    """
    return {(surface, who.type): who for who in characters() for surface in who.surfaces}[words, type_]


@cache
def lookalikes(who: Character) -> tuple[Character, ...]:
    """The other entities of the same kind, those with the same first colour first."""
    alike = [c for c in characters() if (c.type, c.kind) == (who.type, who.kind) and c != who]
    return tuple(sorted(alike, key=lambda c: c.colours[0] != who.colours[0]))


@cache
def companion(who: Character) -> Character:
    """The entity that often occurs with `who`, such as a person's club or a firm's product; never a held-out one."""
    partner_type = {"PER": "ORG", "ORG": "OTHER", "OTHER": "ORG", "LOC": "OTHER"}[who.type]
    same = [c for c in characters() if c.type == who.type]
    partners = [c for c in known() if c.type == partner_type]
    return partners[same.index(who) % len(partners)]
