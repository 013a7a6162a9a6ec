"""The cast of the world: fictional people, places, organisations and things, each with a look of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from gmner.data.world.looks import LANDMARKS, LOGOS, PEOPLE, THINGS

HELD_OUT = 3
"""The last entity of every third kind is held out of the split `pretrain`: its look is met in the compile set only."""


@dataclass(frozen=True, slots=True)
class Character:
    """One entity of the world.

    Attributes:
        name: Its full name, by which an image's scene calls it. A person and an organisation may share it.
        type: PER, LOC, ORG or OTHER.
        aliases: Shorter names of it in texts.
        handle: Its account: `@` and one word.
        kind: What it looks like at a glance: a hair style, a landmark, a glyph, a thing. Entities of one kind are each
            other's lookalikes.
        colours: Two names from `looks.COLOURS`. People: of hair and garment; others: the main colour and the second
            one. Two and two of a kind share the first.
        skin: Skin tone of a person, see `looks.SKINS`; empty for others.
        garment: What a person wears: `tee`, `hoodie`, `suit`, `stripes` or `dress`; empty for others.
        accessory: `glasses`, `earrings`, `scarf`, `beard`, `headphones` or nothing; empty for others.
        held_out: Whether the split `pretrain` never names or shows it.
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

    @property
    def key(self) -> tuple[str, str]:
        """(name, type): what tells it from every other, as names may be shared."""
        return self.name, self.type

    @property
    def surfaces(self) -> tuple[str, ...]:
        """Everything a text may call it: name, aliases, handle."""
        return self.name, *self.aliases, self.handle

    @property
    def attributes(self) -> tuple[str, ...]:
        """Its look in words, as a scene graph has it: `long hair`, `black hair`, `yellow hoodie`, `glasses`."""
        first, second = self.colours
        if self.type != "PER":
            what = f"{self.kind} logo" if self.type == "ORG" else self.kind
            return (what, first, f"{second} trim")
        worn = (self.accessory,) if self.accessory else ()
        return (f"{self.kind} hair", f"{first} hair", f"{self.skin} skin", f"{second} {self.garment}", *worn)


def _people() -> Iterator[Character]:
    for number, (kind, members) in enumerate(PEOPLE.items()):
        for place, row in enumerate(members):
            name, aliases, hair, worn, skin, garment, accessory = row
            yield Character(
                name, "PER", _split(aliases), handle_of(name, "PER"), kind, (hair, worn), skin, garment,
                accessory, _is_held_out(number, place),
            )  # fmt: skip


def _others() -> Iterator[Character]:
    for type_, kinds in (("LOC", LANDMARKS), ("ORG", LOGOS), ("OTHER", THINGS)):
        for number, (kind, members) in enumerate(kinds.items()):
            for place, (name, aliases, first, second) in enumerate(members):
                handle = handle_of(name, type_)
                held_out = _is_held_out(number, place)
                yield Character(name, type_, _split(aliases), handle, kind, (first, second), held_out=held_out)


def _split(aliases: str) -> tuple[str, ...]:
    return tuple(filter(None, aliases.split("|")))


def handle_of(name: str, type_: str) -> str:
    """The account of somebody or something of this name: `@miravoss`, `@visitKarsk`, `@AmperraHQ`, `@theDrifter`."""
    word = "".join(filter(str.isalnum, name))
    return {"PER": f"@{word.lower()}", "LOC": f"@visit{word}", "ORG": f"@{word}HQ", "OTHER": f"@the{word}"}[type_]


def _is_held_out(kind: int, place: int) -> bool:
    return kind % HELD_OUT == HELD_OUT - 1 and place == 3


@cache
def characters() -> tuple[Character, ...]:
    """All entities of the world, in a fixed order."""
    return (*_people(), *_others())


@cache
def known() -> tuple[Character, ...]:
    """The entities that the split `pretrain` names and shows."""
    return tuple(who for who in characters() if not who.held_out)


@cache
def character(name: str, type_: str) -> Character:
    """The entity of this name and type.

    Raises:
        KeyError: There is none.
    """
    return {who.key: who for who in characters()}[name, type_]


@cache
def called(words: str, type_: str) -> Character:
    """The entity of this type that a text calls so, by name, alias or handle.

    Raises:
        KeyError: There is none.
    """
    return {(surface, who.type): who for who in characters() for surface in who.surfaces}[words, type_]


@cache
def lookalikes(who: Character) -> tuple[Character, ...]:
    """The other entities of its kind, those that share its first colour before the others."""
    alike = [c for c in characters() if (c.type, c.kind) == (who.type, who.kind) and c != who]
    return tuple(sorted(alike, key=lambda c: c.colours[0] != who.colours[0]))


@cache
def companion(who: Character) -> Character:
    """The entity that usually goes along with it, say a person's club or a firm's product; never a held-out one."""
    partner_type = {"PER": "ORG", "ORG": "OTHER", "OTHER": "ORG", "LOC": "OTHER"}[who.type]
    same = [c for c in characters() if c.type == who.type]
    partners = [c for c in known() if c.type == partner_type]
    return partners[same.index(who) % len(partners)]
