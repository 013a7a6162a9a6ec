"""The slices of the world: which entities a post mentions, and which its image shows."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gmner.data.world.cast import Character, characters, companion, known, lookalikes
from gmner.data.world.drawing.picture import MOST

Plan = tuple[list[Character], list[Character]]
"""(entities to mention, entities to show); an entity that occurs twice is mentioned or shown twice."""

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
"""Slice -> share of the posts.

- `shown`: all mentioned entities are shown.
- `absent`: no mentioned entity is shown, and no entity of the same kind.
- `lookalike`: a mentioned entity is not shown, but another one of its kind is, usually with the same first colour.
- `companion`: an entity that often occurs with a mentioned one is shown but not mentioned.
- `mixed`: some of the mentioned entities are shown.
- `several`: one entity is shown twice.
- `empty`: no entity is mentioned.
- `unseen-look`: an entity that is held out of pre-training is mentioned or shown.
"""


@dataclass(frozen=True, slots=True)
class Casting:
    """Draws entities for one post.

    Attributes:
        mentions: Number of mentions -> share of the posts.
        types: Type -> share of the mentions.
        also_shown: Probability that an entity is shown if the slice does not determine it.
        rng: Random number generator.
    """

    mentions: Mapping[int, float]
    types: Mapping[str, float]
    also_shown: float
    rng: random.Random

    def count(self, least: int = 1, most: int = 6) -> int:
        """Draw a number of mentions between `least` and `most`."""
        drawn = self.rng.choices(list(self.mentions), list(self.mentions.values()))[0]
        return max(least, min(most, drawn))

    def name(self, count: int, first: Character | None = None) -> list[Character]:
        """Draw `count` known entities of different kinds and names, starting with `first` if given."""
        picked = [] if first is None else [first]
        while len(picked) < count:
            type_ = self.rng.choices(list(self.types), list(self.types.values()))[0]
            who = self.rng.choice([c for c in known() if c.type == type_])
            if not _alike(who, picked):
                picked.append(who)
        return picked

    def others(self, least: int, most: int, avoid: Collection[Character]) -> list[Character]:
        """Draw `least` to `most` known entities that share neither kind nor name with any of `avoid`."""
        free = [c for c in known() if not _alike(c, avoid)]
        return self.rng.sample(free, self.rng.randint(least, most))

    def free(self, named: Collection[Character]) -> list[Character]:
        """Draw the entities of `named` to show, each with probability `also_shown`."""
        return [who for who in named if self.rng.random() < self.also_shown]

    def lookalike(self, who: Character) -> Character:
        """Draw a known entity of the same kind; with probability 0.8 or more, one with the same first colour."""
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
    """A held-out entity is mentioned and shown, or one of the two while a known lookalike is the other."""
    held_out = cast.rng.choice([c for c in characters() if c.held_out])
    lookalike = cast.lookalike(held_out)
    first, shown = cast.rng.choice(
        [(held_out, held_out), (held_out, held_out), (held_out, lookalike), (lookalike, held_out)]
    )
    named = cast.name(cast.count(), first)
    return named, [shown, *cast.free(named[1:]), *cast.others(0, 1, named)]


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
    """Draw the entities that a post of slice `name` mentions and shows; at most `MOST` entities are shown."""
    named, shown = _PLANS[name](cast)
    return named, shown[:MOST]
