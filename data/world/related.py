"""Posts of the world in the form of MNER-MI (names without regions) and of GREC (referring expressions)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gmner.data.oddities import Posts
from gmner.data.post import Post, SceneObject
from gmner.data.world.generate import WORLD_VERSION, World
from gmner.data.world.looks import COLOURS
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import EXPRESSION, GoldEntity

_TARGETS = {0: 0.3, 1: 0.5, 2: 0.2}
"""Number of targets (2: several) -> share of the expressions, if the image allows it."""

_TRIES = 12

_SLICES = ("no target", "one target", "several targets")


def name_posts(world: World, split: str, count: int, *, start: int = 0, pictures: int = 1) -> Posts:
    """Posts with names and types, but without annotated regions, as in MNER-MI.

    Args:
        world: The world.
        split: See `World.posts`.
        count: Number of posts.
        start: Index of the first post.
        pictures: Number of images of a post; those after the first belong to other posts of the split.

    Raises:
        InputError: The split is unknown, or fewer than one image.
    """
    if pictures < 1:
        raise InputError("A post of the world needs an image", received=pictures, accepted="pictures=1 or more")
    return Posts(_names(world, split, index, pictures) for index in range(start, start + count))


def expression_posts(world: World, split: str, count: int, *, start: int = 0) -> Posts:
    """Referring expressions for images of the world, as `gmner.read_grec` reads those of gRefCOCO.

    An expression describes a look (`the person with red hair`, `every yellow castle`) and has no, one or several
    targets: every entity of the image with this look. Entities are not named.

    Args:
        world: The world.
        split: See `World.posts`.
        count: Number of posts.
        start: Index of the first post.

    Raises:
        InputError: The split is unknown.
    """
    return Posts(_expression(world, split, index) for index in range(start, start + count))


def _names(world: World, split: str, index: int, pictures: int) -> Post:
    post = world.post(split, index)
    bare = tuple(GoldEntity(e.span, e.start, e.end, e.type) for e in post.gold)
    others = [world.post(split, index + number).image for number in range(1, pictures)]
    more = tuple(image for image in others if image is not None)
    return replace(post, id=f"names-{post.id}", entities=bare, grounded=False, scene=None, more_images=more)


@dataclass(frozen=True, slots=True)
class _Look:
    """A description without an article, and which entities it fits."""

    words: str
    fits: Callable[[SceneObject], bool]


def _expression(world: World, split: str, index: int) -> Post:
    post = world.post(split, index)
    rng = random.Random(f"gmner-world/{WORLD_VERSION}/{world.seed}/{split}/{index}/expression")
    things = [thing for thing in post.scene or () if thing.type]
    wanted = rng.choices(list(_TARGETS), list(_TARGETS.values()))[0]
    look, targets = _chosen(things, wanted, rng)
    every = len(targets) > 1 or rng.random() < 0.2
    text = f"{'every' if every else 'the'} {look.words}"
    entity = GoldEntity(text, 0, len(text), EXPRESSION, tuple(sorted(targets, key=Box.as_tuple)))
    return Post(
        f"expression-{post.id}", text, post.image, (entity,), scene=post.scene, slice=_SLICES[min(len(targets), 2)]
    )


def _chosen(things: Sequence[SceneObject], wanted: int, rng: random.Random) -> tuple[_Look, list[Box]]:
    """A look with the wanted number of targets; if there is none within some tries, the last one that was tried."""
    look, targets = _absent(things, rng), list[Box]()
    for _ in range(_TRIES):
        absent = not wanted or not things
        look = _absent(things, rng) if absent else _of(rng.choice(things), rng, detailed=wanted == 1)
        targets = [thing.box for thing in things if look.fits(thing)]
        if min(len(targets), 2) == wanted:
            break
    return look, targets


def _of(thing: SceneObject, rng: random.Random, *, detailed: bool) -> _Look:
    """A look of an entity; a detailed one fits fewer others."""
    looks = _person(thing, rng) if thing.type == "PER" else _object(thing)
    return looks[-1] if detailed else rng.choice(looks)


def _person(thing: SceneObject, rng: random.Random) -> list[_Look]:
    """Descriptions of a person by one attribute, and last by two."""
    details = [name for name in thing.attributes if not name.endswith(" skin")]
    first, second = rng.sample(details, 2)
    both = _Look(f"person with {first} and {second}", lambda other: _has(other, "PER", first, second))
    return [_Look(f"person with {first}", lambda other: _has(other, "PER", first)), both]


def _object(thing: SceneObject) -> list[_Look]:
    """Descriptions of a thing by its kind, and last by kind and colour."""
    kind, colour, type_ = *thing.attributes[:2], thing.type
    both = _Look(f"{colour} {kind}", lambda other: _has(other, type_, kind, colour))
    return [_Look(kind, lambda other: _has(other, type_, kind)), both]


def _has(thing: SceneObject, type_: str, *attributes: str) -> bool:
    return thing.type == type_ and set(attributes) <= set(thing.attributes)


def _absent(things: Sequence[SceneObject], rng: random.Random) -> _Look:
    """A look of another colour than that of a thing in the image, or of anybody's hair."""
    colour = rng.choice(list(COLOURS))
    kinds = [(thing.type, thing.attributes[0]) for thing in things if thing.type != "PER"]
    if not kinds or rng.random() < 0.5:
        return _Look(f"person with {colour} hair", lambda other: _has(other, "PER", f"{colour} hair"))
    type_, kind = rng.choice(kinds)
    return _Look(f"{colour} {kind}", lambda other: _has(other, type_, kind, colour))
