"""Posts of the world: text, picture, exact gold, the full scene, and planted modality bias."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from gmner.data.post import Post, SceneObject
from gmner.data.world.cast import Character, characters, companion, lookalikes
from gmner.data.world.draw import SIDE, Rect, aspect, draw_scene
from gmner.data.world.text import write_text
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity

WORLD_VERSION = 1

SLICES: dict[str, float] = {
    "shown": 0.20,
    "absent": 0.20,
    "lookalike": 0.22,
    "companion": 0.10,
    "mixed": 0.18,
    "several": 0.05,
    "empty": 0.05,
}
"""Share of posts a slice: about 60 % of the mentions are not shown, as in Twitter-GMNER."""

_SPLITS = ("train", "dev", "test", "pretrain")


@dataclass(frozen=True, slots=True)
class World:
    """A deterministic generator of posts.

    Args:
        seed: Seed of the world; a post depends only on seed, version, split and index.
        slices: Share of posts a slice; see `SLICES` for names and meaning:
            `shown`: all that is named is shown; `absent`: nothing that is named, nor its kind, is shown; `lookalike`:
            something named is not shown, but another of its kind is; `companion`: something that goes along with a
            named thing is shown and not named; `mixed`: shown and absent ones; `several`: one entity is shown twice;
            `empty`: no named entity.

    Raises:
        InputError: Unknown slice, or shares that do not sum to something positive.
    """

    seed: int = 0
    slices: Mapping[str, float] = field(default_factory=lambda: dict(SLICES))

    def __post_init__(self) -> None:
        """Refuse unknown slices."""
        if set(self.slices) - set(SLICES) or sum(self.slices.values()) <= 0:
            raise InputError("Unknown slices of the world", received=dict(self.slices), accepted=", ".join(SLICES))

    def posts(self, split: str, count: int, *, start: int = 0) -> list[Post]:
        """`count` posts of a split, with pictures of `SIDE` x `SIDE` pixels in memory.

        Args:
            split: train, dev, test or pretrain; splits never share a random stream.
            count: Number of posts.
            start: Index of the first post.

        Raises:
            InputError: Unknown split.
        """
        if split not in _SPLITS:
            raise InputError("Unknown split of the world", received=split, accepted=", ".join(_SPLITS))
        return [self.post(split, index) for index in range(start, start + count)]

    def post(self, split: str, index: int) -> Post:
        """The post with this index."""
        rng = random.Random(f"gmner-world/{WORLD_VERSION}/{self.seed}/{split}/{index}")
        name = rng.choices(list(self.slices), list(self.slices.values()))[0]
        named, shown = _plan(name, rng)
        image, scene = picture(shown, rng)
        text = write_text(named, rng)
        entities = annotate(text, named, scene)
        return Post(f"{split}-{index}", text, image, entities, tuple(text.split()), scene, name)


def _others(rng: random.Random, count: int, avoid: Sequence[Character]) -> list[Character]:
    """`count` entities that are neither of `avoid` nor of a kind of theirs."""
    kinds = {(c.type, c.kind) for c in avoid}
    free = [c for c in characters() if (c.type, c.kind) not in kinds]
    return rng.sample(free, count)


def _name(rng: random.Random, count: int) -> list[Character]:
    """`count` entities of different kinds; people first as often as in real posts."""
    picked: list[Character] = []
    while len(picked) < count:
        type_ = rng.choices(["PER", "LOC", "ORG", "OTHER"], [0.43, 0.16, 0.26, 0.15])[0]
        who = rng.choice([c for c in characters() if c.type == type_])
        if all((who.type, who.kind) != (c.type, c.kind) for c in picked):
            picked.append(who)
    return picked


def _plan(name: str, rng: random.Random) -> tuple[list[Character], list[Character]]:
    """Which entities a post of this slice names, and which its picture shows."""
    if name == "empty":
        return [], _name(rng, rng.randint(0, 3))
    if name == "shown":
        named = _name(rng, rng.choices([1, 2, 3], [0.65, 0.28, 0.07])[0])
        return named, named + _others(rng, rng.randint(0, 1), named)
    if name == "absent":
        named = _name(rng, rng.choices([1, 2, 3], [0.5, 0.35, 0.15])[0])
        return named, _others(rng, rng.randint(0, 3), named)
    if name == "lookalike":
        named = _name(rng, rng.choices([1, 2, 3], [0.6, 0.3, 0.1])[0])
        shown = [rng.choice(lookalikes(named[0].name))]
        shown += [c for c in named[1:] if rng.random() < 0.3]
        return named, shown + _others(rng, rng.randint(0, 1), named)
    if name == "companion":
        named = _name(rng, 1)
        partner = companion(named[0].name)
        return named, [partner] + (named if rng.random() < 0.5 else [])
    if name == "mixed":
        named = _name(rng, rng.choices([2, 3, 4], [0.6, 0.3, 0.1])[0])
        cut = rng.randint(1, min(2, len(named) - 1))
        return rng.sample(named, len(named)), named[:cut] + _others(rng, rng.randint(0, 1), named)
    named = _name(rng, rng.choices([1, 2], [0.7, 0.3])[0])
    return named, [named[0], named[0], *named[1:]]


def _place(shown: Sequence[Character], rng: random.Random) -> list[tuple[Character, Rect]]:
    """Boxes for `shown`, hardly overlapping; shrinks them until they fit."""
    scale = 1.0
    while True:
        placed: list[tuple[Character, Rect]] = []
        for who in shown:
            for _ in range(30):
                height = rng.uniform(78, 132) * scale / max(1.0, aspect(who)) ** 0.5
                width = height * aspect(who)
                x, y = rng.uniform(3, SIDE - 3 - width), rng.uniform(3, SIDE - 3 - height)
                rect = (round(x), round(y), round(x + width), round(y + height))
                if all(_overlap(rect, other) < 0.08 for _, other in placed):
                    placed.append((who, rect))
                    break
        if len(placed) == len(shown):
            return placed
        scale *= 0.93


def _overlap(a: Rect, b: Rect) -> float:
    """Intersection over the smaller area."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    areas = [(r[2] - r[0]) * (r[3] - r[1]) for r in (a, b)]
    return max(width, 0) * max(height, 0) / min(areas)


def picture(shown: Sequence[Character], rng: random.Random) -> tuple[Image.Image, tuple[SceneObject, ...]]:
    """A picture of `shown` and its scene: exact boxes in pixels of the picture, from left to right."""
    placed = _place(shown, rng)
    image = draw_scene(placed, rng)
    objects = [SceneObject(who.name, who.type, Box(*map(float, rect))) for who, rect in placed]
    return image, tuple(sorted(objects, key=lambda o: (o.box.x1, o.box.y1)))


def annotate(text: str, named: Sequence[Character], scene: Sequence[SceneObject]) -> tuple[GoldEntity, ...]:
    """The gold mentions of a text that names each of `named` once, in text order."""
    gold = []
    for who in named:
        start = text.index(who.name)
        boxes = tuple(o.box for o in scene if o.name == who.name)
        gold.append(GoldEntity(who.name, start, start + len(who.name), who.type, boxes))
    return tuple(sorted(gold, key=lambda g: g.start))
