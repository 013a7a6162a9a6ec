"""The slices of the world: which entities a post names, and which its image shows."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gmner.data.world.cast import Character, characters, companion, known, lookalikes
from gmner.data.world.drawing.picture import MOST

Plan = tuple[list[Character], list[Character]]
"""(the mentions to make, what the image shows: twice in it, twice shown)."""

SLICES: Mapping[str, float] = MappingProxyType(
    {
        "shown": 0.19,
        "absent": 0.22,
        "lookalike": 0.20,
        "companion": 0.08,
        "mixed": 0.14,
        "several": 0.05,
        "empty": 0.05,
        "unseen-look": 0.07,
    }
)
"""Share of posts a slice.

`shown`: all that is named is shown. `absent`: nothing that is named, nor its kind, is shown. `lookalike`: something
named is not shown, but another of its kind, mostly of its first colour, is. `companion`: something that usually goes
along with a named entity is shown and not named. `mixed`: shown and absent ones. `several`: one entity is shown twice.
`empty`: no named entity. `unseen-look`: an entity held out of pre-training is named or shown.
"""


@dataclass(frozen=True, slots=True)
class Casting:
    """Draws entities for one post.

    Attributes:
        mentions: Share of posts by number of mentions.
        types: Share of mentions by type.
        also_shown: Chance that a mention is shown of which the slice says nothing.
        rng: The source of randomness.
    """

    mentions: Mapping[int, float]
    types: Mapping[str, float]
    also_shown: float
    rng: random.Random

    def count(self, least: int = 1, most: int = 6) -> int:
        """A number of mentions, between two bounds."""
        drawn = self.rng.choices(list(self.mentions), list(self.mentions.values()))[0]
        return max(least, min(most, drawn))

    def name(self, count: int, first: Character | None = None) -> list[Character]:
        """`count` known entities of different kinds and names, types by their share; `first`, if given, leads them."""
        picked = [] if first is None else [first]
        while len(picked) < count:
            type_ = self.rng.choices(list(self.types), list(self.types.values()))[0]
            who = self.rng.choice([c for c in known() if c.type == type_])
            if not _alike(who, picked):
                picked.append(who)
        return picked

    def others(self, least: int, most: int, avoid: Collection[Character]) -> list[Character]:
        """Between `least` and `most` known entities that share neither kind nor name with one of `avoid`."""
        free = [c for c in known() if not _alike(c, avoid)]
        return self.rng.sample(free, self.rng.randint(least, most))

    def free(self, named: Collection[Character]) -> list[Character]:
        """Those of `named` that are shown by chance."""
        return [who for who in named if self.rng.random() < self.also_shown]

    def lookalike(self, who: Character) -> Character:
        """Another known one of its kind, four times in five one that shares its first colour."""
        alike = [c for c in lookalikes(who) if not c.held_out]
        return alike[0] if self.rng.random() < 0.8 else self.rng.choice(alike)


def _alike(who: Character, others: Collection[Character]) -> bool:
    return any((who.type, who.kind) == (c.type, c.kind) or who.name == c.name for c in others)


def _shown(cast: Casting) -> Plan:
    named = cast.name(cast.count(most=4))
    return named, named + cast.others(0, 1, named)


def _absent(cast: Casting) -> Plan:
    named = cast.name(cast.count())
    return named, cast.others(0, 3, named)


def _lookalike(cast: Casting) -> Plan:
    named = cast.name(cast.count())
    return named, [cast.lookalike(named[0]), *cast.free(named[1:]), *cast.others(0, 1, named)]


def _companion(cast: Casting) -> Plan:
    first = cast.rng.choice(known())
    partner = companion(first)
    rest = [c for c in cast.name(cast.count(), first)[1:] if not _alike(c, [partner])]
    shown = [partner, *([first] if cast.rng.random() < 0.5 else []), *cast.free(rest)]
    return [first, *rest], shown


def _mixed(cast: Casting) -> Plan:
    named = cast.name(cast.count(least=2))
    shown = [named[0], *cast.free(named[2:]), *cast.others(0, 1, named)]
    return cast.rng.sample(named, len(named)), shown


def _several(cast: Casting) -> Plan:
    named = cast.name(cast.count(most=3))
    return named, [named[0], named[0], *cast.free(named[1:])]


def _empty(cast: Casting) -> Plan:
    return [], cast.others(0, 3, [])


def _unseen_look(cast: Casting) -> Plan:
    """A held-out entity: named and shown, named while a known lookalike is shown, or shown while that is named."""
    new = cast.rng.choice([c for c in characters() if c.held_out])
    old = cast.lookalike(new)
    first, there = cast.rng.choice([(new, new), (new, new), (new, old), (old, new)])
    named = cast.name(cast.count(), first)
    return named, [there, *cast.free(named[1:]), *cast.others(0, 1, named)]


_PLANS: Mapping[str, Callable[[Casting], Plan]] = {
    "shown": _shown,
    "absent": _absent,
    "lookalike": _lookalike,
    "companion": _companion,
    "mixed": _mixed,
    "several": _several,
    "empty": _empty,
    "unseen-look": _unseen_look,
}


def plan(name: str, cast: Casting) -> Plan:
    """What a post of the slice `name` names and shows: at most `MOST` entities, those that make the slice first."""
    named, shown = _PLANS[name](cast)
    return named, shown[:MOST]
