"""The images of the world: boxes match the drawn pixels, looks are distinguishable, scenes record occlusion."""

import random
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from gmner.data.post import SceneObject
from gmner.data.world.cast import Character, characters
from gmner.data.world.drawing import SIDE, picture
from gmner.data.world.drawing.layout import Placed, before, grid_spots, hidden, shrunk, spots
from gmner.data.world.drawing.picture import MOST
from gmner.data.world.drawing.portraits import portrait
from gmner.data.world.drawing.props import NAMES, VARIANTS, WORDS, banner, prop

pytestmark = pytest.mark.slow

CAST = characters()
SMALL = 40
BACKDROP = (205, 216, 222)


def on_backdrop(look: Image.Image, at: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> np.ndarray:
    """The look on a plain background, (height, width, 3)."""
    image = Image.new("RGB", size or look.size, BACKDROP)
    image.paste(look, at, look)
    return np.asarray(image, dtype=int)


def drawn(look: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels that differ from the background."""
    different = np.abs(on_backdrop(look) - BACKDROP).max(axis=-1) > 24
    rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@cache
def thumbnail(who: Character) -> tuple[np.ndarray, np.ndarray]:
    """A look at the resolution of a small model, 40 px high in a square of 56 px: colours and mask."""
    look, side = shrunk(portrait(who), SMALL), SMALL + 16
    colours = on_backdrop(look, ((side - look.width) // 2, (side - look.height) // 2), (side, side))
    return colours, np.abs(colours - BACKDROP).max(axis=-1) > 24


def mean_difference(one: Character, other: Character) -> float:
    """Mean difference of two thumbnails, 0 to 255, over the pixels of either look."""
    (a, drawn_a), (b, drawn_b) = thumbnail(one), thumbnail(other)
    return np.abs(a - b).mean(axis=-1)[drawn_a | drawn_b].mean()


@cache
def sample() -> tuple[tuple[tuple[Character, ...], Image.Image, tuple[SceneObject, ...]], ...]:
    """150 images of one to six entities, chosen with repetition."""
    rng = random.Random(11)
    found = []
    for number in range(150):
        shown = tuple(rng.choices(CAST, k=1 + number % MOST))
        found.append((shown, *picture(shown, rng)))
    return tuple(found)


def scenes() -> list[tuple[SceneObject, ...]]:
    return [scene for _, _, scene in sample()]


@pytest.mark.parametrize("height", [77, 179])
def test_every_look_fills_its_box(height):
    for who in CAST:
        look = shrunk(portrait(who), height)
        left, top, right, bottom = drawn(look)
        assert max(left, top, look.width - right, look.height - bottom) <= 2, who.name


def test_props_and_banners_fill_their_boxes():
    looks = [prop(name, tint) for name in NAMES for tint in range(VARIANTS)]
    looks += [banner(word, tint) for word in WORDS for tint in range(VARIANTS)]
    for look in looks:
        assert look.getbbox() == (0, 0, *look.size)


def test_looks_of_one_size_differ_clearly():
    difference = {(a.name, b.name, a.type, b.type): mean_difference(a, b) for a, b in combinations(CAST, 2)}
    assert min(difference.values()) > 8, min(difference, key=difference.get)


def test_both_colours_of_a_look_cover_much_of_it():
    for who in CAST[::3]:
        look = np.asarray(portrait(who)).astype(int)
        shares = []
        for place in (0, 1):
            other = portrait(recoloured(who, place))
            assert other.size == (look.shape[1], look.shape[0])
            shares.append((np.abs(look - np.asarray(other)).sum(-1) > 20).sum() / (look[..., 3] > 0).sum())
        assert min(shares) > 0.15, who.name


def recoloured(who: Character, place: int) -> Character:
    """The same look with a different first or second colour."""
    colours = list(who.colours)
    colours[place] = "pink" if colours[place] != "pink" else "green"
    return replace(who, colours=(colours[0], colours[1]))


def test_same_generator_state_gives_the_same_image():
    first, again, other = (picture(CAST[:3], random.Random(seed)) for seed in (4, 4, 5))
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1] == again[1]
    assert first[0].tobytes() != other[0].tobytes()


def test_image_shows_each_requested_entity():
    for shown, image, scene in sample():
        assert (image.mode, image.size) == ("RGB", (SIDE, SIDE))
        entities = sorted((thing.name, thing.type, thing.attributes) for thing in scene if thing.type)
        assert entities == sorted((who.name, who.type, who.attributes) for who in shown)


def test_empty_image_and_too_many_entities():
    image, scene = picture([], random.Random(0))
    assert image.size == (SIDE, SIDE)
    assert not any(thing.type for thing in scene)
    with pytest.raises(ValueError, match="at most 6"):
        picture(CAST[:7], random.Random(0))


def test_six_wide_things_fit():
    wide = sorted(CAST, key=lambda who: -portrait(who).width / portrait(who).height)[:MOST]
    for seed in range(20):
        _, scene = picture(wide, random.Random(seed))
        assert sum(bool(thing.type) for thing in scene) == MOST
        assert all(thing.box.inside((SIDE, SIDE)) for thing in scene)


def test_boxes_are_inside_and_sized_by_the_number_of_entities():
    for shown, _, scene in sample():
        for thing in scene:
            assert thing.box.inside((SIDE, SIDE))
            share = (thing.box.y2 - thing.box.y1) / SIDE
            if thing.type:
                assert (0.29 if len(shown) <= 2 else 0.235) <= share <= 0.57


def test_scene_is_sorted_by_position_and_numbers_the_drawing_order():
    for scene in scenes():
        assert list(scene) == sorted(scene, key=lambda thing: (thing.box.x1, thing.box.y1))
        assert sorted(thing.depth for thing in scene) == list(range(len(scene)))


def test_objects_that_are_not_entities_have_no_type():
    for scene in scenes():
        for thing in scene:
            if thing.type:
                continue
            assert thing.name in (*NAMES, "text")
            assert thing.attributes == () or (thing.name == "text" and thing.attributes[0] in WORDS)


def test_banners_never_show_the_name_of_an_entity():
    surfaces = {surface.lower() for who in CAST for surface in who.surfaces}
    assert not surfaces & {word.lower() for word in WORDS}


def test_share_of_images_with_words_and_props():
    words = np.mean([any(thing.name == "text" for thing in scene) for scene in scenes()])
    props = np.mean([any(thing.name in NAMES for thing in scene) for scene in scenes()])
    assert 0.02 < words < 0.2
    assert props > 0.5


def test_occlusion_occurs_and_stays_small():
    crowded = [scene for scene in scenes() if len(scene) > 1]
    assert 0.12 < np.mean([any(thing.covered for thing in scene) for scene in crowded]) < 0.4
    for scene in scenes():
        assert all(0 <= thing.covered <= 0.3 for thing in scene)
        assert all(thing.covered == 0 for thing in scene if thing.depth == len(scene) - 1)
        assert sum(thing.covered > 0 for thing in scene) <= 1


def test_occlusion_is_the_share_of_hidden_pixels():
    black = Image.new("RGBA", (40, 40), (0, 0, 0, 255))
    things = [Placed(black, 10, 10, "crate"), Placed(black, 40, 10, "crate"), Placed(black, 10, 200, "crate")]
    assert hidden(things, SIDE) == [0.25, 0.0, 0.0]


def test_occluding_object_covers_only_its_target():
    rng = random.Random(2)
    victim, other, coverer = (
        Placed(shrunk(portrait(CAST[i]), 90), x, 100, CAST[i].name) for i, x in ((0, 30), (1, 200), (2, 0))
    )
    moved = before(victim, coverer, [other], SIDE, rng)
    assert moved is not None
    shares = hidden([other, victim, moved], SIDE)
    assert shares[0] == 0
    assert 0.06 <= shares[1] <= 0.3


def test_positions_do_not_overlap_and_fall_back_to_a_grid():
    rng = random.Random(8)
    found = spots([(60, 60)] * 4, SIDE, rng)
    assert found is not None
    for (x, y), (u, v) in combinations(found, 2):
        assert abs(x - u) >= 60 or abs(y - v) >= 60
    assert spots([(200, 200)] * 3, SIDE, rng) is None
    for (x, y), (u, v) in combinations(grid_spots([(100, 100)] * 6, SIDE, rng), 2):
        assert abs(x - u) >= 100 or abs(y - v) >= 100
