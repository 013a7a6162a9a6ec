"""`World`: generates posts with text, image, exact gold annotation, full scene, and deliberate modality bias."""

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
"""Number of mentions -> share of the posts with mentions; 1.7 per post on average, as in Twitter-GMNER."""

TYPES: Mapping[str, float] = MappingProxyType({"PER": 0.43, "LOC": 0.16, "ORG": 0.26, "OTHER": 0.15})
"""Type -> share of the mentions."""

_SPLITS = ("train", "dev", "test", "pretrain")


@dataclass(frozen=True, slots=True)
class World:
    """A deterministic generator of posts.

    Args:
        seed: Seed of the world. A post depends only on seed, parameters, version, split and index.
        slices: Slice -> share of the posts; see `SLICES` for the slices.
        mentions: Number of mentions (1 to 6) -> share of the posts with mentions. Posts of a slice that needs two
            mentions have at least two.
        types: Type (PER, LOC, ORG, OTHER) -> share of the mentions.
        also_shown: Probability that an entity is shown if its slice does not determine it.
        named_twice: Probability that a post mentions one of its entities twice.

    Raises:
        InputError: A slice, number or type is unknown, shares are negative or sum to 0, or a probability is not in
            0..1.
    """

    seed: int = 0
    slices: Mapping[str, float] = field(default_factory=lambda: dict(SLICES))
    mentions: Mapping[int, float] = field(default_factory=lambda: dict(MENTIONS))
    types: Mapping[str, float] = field(default_factory=lambda: dict(TYPES))
    also_shown: float = 0.3
    named_twice: float = 0.04

    def __post_init__(self) -> None:
        """Check the parameters."""
        shares: dict[str, tuple[Mapping[str, float] | Mapping[int, float], Mapping[str, float] | Mapping[int, float]]]
        shares = {
            "slices": (self.slices, SLICES),
            "numbers of mentions": (self.mentions, MENTIONS),
            "types": (self.types, TYPES),
        }
        for name, (values, accepted) in shares.items():
            if set(values) - set(accepted) or min(values.values(), default=-1) < 0 or sum(values.values()) <= 0:
                keys = ", ".join(map(str, accepted))
                raise InputError(f"{name} must map known names to shares", received=dict(values), accepted=keys)
        for name, probability in (("also_shown", self.also_shown), ("named_twice", self.named_twice)):
            if not 0 <= probability <= 1:
                raise InputError(f"`{name}` must be from 0 to 1", received=probability)

    def posts(self, split: str, count: int, *, start: int = 0) -> Posts:
        """Generate posts with images of `SIDE` x `SIDE` pixels in memory.

        Args:
            split: train, dev, test or pretrain. Splits never share a random stream. `pretrain` contains no held-out
                entities and no posts of the slice `unseen-look`.
            count: Number of posts.
            start: Index of the first post.

        Raises:
            InputError: The split is unknown.
        """
        return Posts(self.post(split, index) for index in range(start, start + count))

    def post(self, split: str, index: int) -> Post:
        """Generate the post with this index.

        Raises:
            InputError: The split is unknown, or it is `pretrain` and the world has no slice except `unseen-look`.
        """
        if split not in _SPLITS:
            raise InputError("Unknown split of the world", received=split, accepted=", ".join(_SPLITS))
        rng = random.Random(f"gmner-world/{WORLD_VERSION}/{self.seed}/{split}/{index}")
        shares = {name: share for name, share in self.slices.items() if split != "pretrain" or name != "unseen-look"}
        if sum(shares.values()) <= 0:
            raise InputError(
                "The split `pretrain` cannot contain posts of the slice `unseen-look`",
                received=dict(self.slices),
                accepted="another split, or a world with other slices",
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
        """SHA-256 of the first `count` posts of a split, as hexadecimal digits.

        Args:
            split: See `posts`.
            count: Number of posts.
            pictures: Whether to include the pixels, which depend on the version of Pillow. Texts, gold and scenes are
                always included.
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
    """Create the gold mentions of a text, in text order, with the boxes of a scene."""
    return tuple(
        GoldEntity(written.text[said.start : said.end], said.start, said.end, said.who.type, boxes_of(said.who, scene))
        for said in written.said
    )


def boxes_of(who: Character, scene: Sequence[SceneObject]) -> tuple[Box, ...]:
    """The boxes of all instances of an entity in a scene."""
    return tuple(thing.box for thing in scene if (thing.name, thing.type) == who.key)
