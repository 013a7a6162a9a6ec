"""Posts of the world: text, image, exact gold, the full scene, and planted modality bias."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from PIL import Image

from gmner.data.oddities import Posts
from gmner.data.post import Post, SceneObject
from gmner.data.world.cast import Character
from gmner.data.world.drawing import picture
from gmner.data.world.plans import SLICES, Casting, plan
from gmner.data.world.text import Written, write_text
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity

WORLD_VERSION = 2

MENTIONS: Mapping[int, float] = MappingProxyType({1: 0.55, 2: 0.26, 3: 0.11, 4: 0.05, 5: 0.02, 6: 0.01})
"""Shares of posts by number of mentions, of posts that name anything: 1.7 a post, as in Twitter-GMNER."""

TYPES: Mapping[str, float] = MappingProxyType({"PER": 0.43, "LOC": 0.16, "ORG": 0.26, "OTHER": 0.15})
"""Shares of mentions by type."""

_SPLITS = ("train", "dev", "test", "pretrain")


@dataclass(frozen=True, slots=True)
class World:
    """A deterministic generator of posts.

    Args:
        seed: Seed of the world; a post depends only on seed, parameters, version, split and index.
        slices: Share of posts a slice; see `SLICES` for names and meaning.
        mentions: Share of posts by number of mentions, 1 to 6, of posts that name anything; a slice that needs two
            mentions takes two at least.
        types: Share of mentions by type: PER, LOC, ORG, OTHER.
        also_shown: Chance that a mention is shown of which its post's slice says nothing.
        named_twice: Chance that a post names one of its entities twice.

    Raises:
        InputError: An unknown slice, number or type, shares that do not sum to something positive, or a chance that is
            not in 0..1.
    """

    seed: int = 0
    slices: Mapping[str, float] = field(default_factory=lambda: dict(SLICES))
    mentions: Mapping[int, float] = field(default_factory=lambda: dict(MENTIONS))
    types: Mapping[str, float] = field(default_factory=lambda: dict(TYPES))
    also_shown: float = 0.3
    named_twice: float = 0.04

    def __post_init__(self) -> None:
        """Refuse what is not known."""
        shares: dict[str, tuple[Mapping[str, float] | Mapping[int, float], Mapping[str, float] | Mapping[int, float]]]
        shares = {
            "slices": (self.slices, SLICES),
            "numbers of mentions": (self.mentions, MENTIONS),
            "types": (self.types, TYPES),
        }
        for what, (given, accepted) in shares.items():
            if set(given) - set(accepted) or min(given.values(), default=-1) < 0 or sum(given.values()) <= 0:
                known = ", ".join(map(str, accepted))
                raise InputError(f"{what} must map known names to shares", received=dict(given), accepted=known)
        for what, chance in (("also_shown", self.also_shown), ("named_twice", self.named_twice)):
            if not 0 <= chance <= 1:
                raise InputError(f"`{what}` must be in 0..1", received=chance, accepted="0 to 1")

    def posts(self, split: str, count: int, *, start: int = 0) -> Posts:
        """`count` posts of a split, with images of `SIDE` x `SIDE` pixels in memory.

        Args:
            split: train, dev, test or pretrain. Splits never share a random stream; `pretrain` has no held-out entity,
                and none of the slice `unseen-look`.
            count: Number of posts.
            start: Index of the first post.

        Raises:
            InputError: Unknown split.
        """
        return Posts(self.post(split, index) for index in range(start, start + count))

    def post(self, split: str, index: int) -> Post:
        """The post with this index.

        Raises:
            InputError: Unknown split, or `pretrain` of a world of nothing but the slice `unseen-look`.
        """
        if split not in _SPLITS:
            raise InputError("Unknown split of the world", received=split, accepted=", ".join(_SPLITS))
        rng = random.Random(f"gmner-world/{WORLD_VERSION}/{self.seed}/{split}/{index}")
        shares = {name: share for name, share in self.slices.items() if split != "pretrain" or name != "unseen-look"}
        if sum(shares.values()) <= 0:
            raise InputError(
                "The split `pretrain` never names or shows what is held out",
                received=dict(self.slices),
                accepted="another split, or other slices beside `unseen-look`",
            )
        name = rng.choices(list(shares), list(shares.values()))[0]
        casting = Casting(self.mentions, self.types, self.also_shown, rng)
        named, shown = plan(name, casting)
        if named and len(named) < max(MENTIONS) and rng.random() < self.named_twice:
            named = [*named, rng.choice(named)]
        image, scene = picture(shown, rng)
        written = write_text(named, rng)
        tokens = tuple(written.text.split())
        return Post(f"{split}-{index}", written.text, image, annotate(written, scene), tokens, scene, name)

    def checksum(self, split: str, count: int, *, pictures: bool = True) -> str:
        """SHA-256, in hexadecimal digits, of the first `count` posts of a split.

        Args:
            split: See `posts`.
            count: Number of posts.
            pictures: Whether the pixels count, which another version of Pillow may draw otherwise; texts, gold and
                scenes always do.
        """
        digest = hashlib.sha256()
        for index in range(count):
            post = self.post(split, index)
            gold = [(e.span, e.start, e.type, [box.as_tuple() for box in e.boxes]) for e in post.gold]
            scene = [(o.name, o.type, o.box.as_tuple(), o.attributes, o.depth) for o in post.scene or ()]
            digest.update(json.dumps([post.id, post.slice, post.text, gold, scene]).encode())
            if pictures and isinstance(post.image, Image.Image):
                digest.update(post.image.tobytes())
        return digest.hexdigest()


def annotate(written: Written, scene: Sequence[SceneObject]) -> tuple[GoldEntity, ...]:
    """The gold mentions of a text over an image, in text order."""
    return tuple(
        GoldEntity(written.text[said.start : said.end], said.start, said.end, said.who.type, boxes_of(said.who, scene))
        for said in written.said
    )


def boxes_of(who: Character, scene: Sequence[SceneObject]) -> tuple[Box, ...]:
    """The boxes of every instance of an entity in a scene."""
    return tuple(thing.box for thing in scene if (thing.name, thing.type) == who.key)
