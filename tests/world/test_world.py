"""The world: the same for everybody, in slices that are what they say, with gold that is what is drawn."""

import hashlib
import random
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageChops

from gmner.data.post import Post
from gmner.data.world import generate
from gmner.data.world.cast import Character, characters, companion, lookalikes
from gmner.data.world.draw import SIDE, aspect, draw_scene
from gmner.data.world.generate import SLICES, World
from gmner.data.world.text import write_text
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError

CAST = {who.name: who for who in characters()}
POSTS = World().posts("train", 150)
CHECKSUM = "5627ecda4d88ee12"


def only(name: str, count: int = 200) -> list[Post]:
    """Posts of one slice."""
    return World(seed=5, slices={name: 1.0}).posts("train", count)


def kind(name: str) -> tuple[str, str]:
    return CAST[name].type, CAST[name].kind


def scene_names(post: Post) -> list[str]:
    return [thing.name for thing in post.scene]


def as_data(post: Post) -> list[object]:
    gold = [[g.span, g.start, g.end, g.type, [box.as_tuple() for box in g.boxes]] for g in post.gold]
    scene = [[thing.name, thing.type, thing.box.as_tuple()] for thing in post.scene]
    return [post.id, post.text, post.slice, gold, scene]


def test_a_post_depends_on_seed_split_and_index_only():
    one, two = World().posts("dev", 12), World().posts("dev", 12)
    assert list(map(as_data, one)) == list(map(as_data, two))
    assert [post.image.tobytes() for post in one] == [post.image.tobytes() for post in two]
    assert as_data(World().posts("dev", 1, start=7)[0]) == as_data(one[7])
    assert as_data(World(seed=1).post("dev", 7)) != as_data(one[7])


def test_ten_posts_are_those_of_this_version():
    """Whoever changes what the world writes must raise WORLD_VERSION: scores on another world do not compare."""
    digest = hashlib.sha256(repr([as_data(post) for post in World().posts("test", 10)]).encode()).hexdigest()
    assert (generate.WORLD_VERSION, digest[:16]) == (1, CHECKSUM)


def test_splits_share_no_post():
    splits = {split: World().posts(split, 60) for split in ("train", "dev", "test", "pretrain")}
    for split, posts in splits.items():
        assert [post.id for post in posts] == [f"{split}-{index}" for index in range(60)]
    whole = [(post.text, tuple(post.scene)) for posts in splits.values() for post in posts]
    assert len(set(whole)) == len(whole)


@pytest.mark.parametrize("split", ["train", "test"])
def test_gold_stands_in_the_text_and_lies_in_the_picture(split: str):
    for post in World().posts(split, 100):
        assert post.text == " ".join(post.tokens)
        assert "{" not in post.text
        starts = [gold.start for gold in post.gold]
        assert starts == sorted(starts)
        assert all(one.end <= two.start for one, two in pairwise(post.gold))
        named = [name for name in CAST if name in post.text]
        assert sorted(named) == sorted(gold.span for gold in post.gold)
        for gold in post.gold:
            assert post.text[gold.start : gold.end] == gold.span
            assert post.text.count(gold.span) == 1
            assert gold.type == CAST[gold.span].type
            assert gold.boxes == tuple(thing.box for thing in post.scene if thing.name == gold.span)
        assert post.image.size == (SIDE, SIDE)
        assert all(thing.box.inside(post.image.size) and thing.type == CAST[thing.name].type for thing in post.scene)


def test_shares_of_slices_and_of_mentions_that_are_not_shown():
    posts = World().posts("test", 600)
    total = sum(SLICES.values())
    for name, share in SLICES.items():
        assert sum(post.slice == name for post in posts) / len(posts) == pytest.approx(share / total, abs=0.045)
    mentions = [gold for post in posts for gold in post.gold]
    assert 0.50 <= sum(not gold.visible for gold in mentions) / len(mentions) <= 0.65


def test_shown():
    for post in only("shown"):
        assert post.gold
        assert all(len(gold.boxes) == 1 for gold in post.gold)


def test_absent():
    posts = only("absent")
    assert any(post.scene for post in posts)
    for post in posts:
        assert post.gold
        assert not any(gold.visible for gold in post.gold)
        assert not {kind(gold.span) for gold in post.gold} & {kind(name) for name in scene_names(post)}


def test_lookalike():
    for post in only("lookalike"):
        absent = [gold.span for gold in post.gold if not gold.visible]
        there = set(scene_names(post)) - {gold.span for gold in post.gold}
        assert any({who.name for who in lookalikes(name)} & there for name in absent)


def test_companion():
    posts = only("companion")
    for post in posts:
        (gold,) = post.gold
        partner = companion(gold.span).name
        assert partner in scene_names(post)
        assert partner not in post.text
    shown = sum(post.gold[0].visible for post in posts) / len(posts)
    assert 0.35 < shown < 0.65


def test_mixed():
    for post in only("mixed"):
        assert {gold.visible for gold in post.gold} == {True, False}


def test_several():
    for post in only("several"):
        counts = sorted(len(gold.boxes) for gold in post.gold)
        assert counts[-1] == 2
        assert set(counts[:-1]) <= {1}


def test_empty():
    posts = only("empty")
    assert any(post.scene for post in posts)
    assert any(not post.scene for post in posts)
    assert all(post.gold == () and not any(name in post.text for name in CAST) for post in posts)


def test_things_hardly_overlap():
    for post in POSTS:
        boxes = [thing.box for thing in post.scene]
        for place, one in enumerate(boxes):
            for other in boxes[place + 1 :]:
                width = min(one.x2, other.x2) - max(one.x1, other.x1)
                height = min(one.y2, other.y2) - max(one.y1, other.y1)
                area = min((box.x2 - box.x1) * (box.y2 - box.y1) for box in (one, other))
                assert max(width, 0) * max(height, 0) / area < 0.08


def drawn(who: Character, rect: tuple[int, int, int, int]) -> Box:
    """Where a picture with a thing differs from the same backdrop without it."""
    with_it, without = (draw_scene(placed, random.Random(0)) for placed in ([(who, rect)], []))
    left, top, right, bottom = (
        ImageChops.difference(with_it, without).convert("L").point(lambda v: 255 * (v > 8)).getbbox()
    )
    return Box(left, top, right, bottom)


@pytest.mark.parametrize("who", characters(), ids=lambda who: who.name)
def test_a_box_is_what_is_drawn(who: Character):
    height = 100
    rect = (60, 70, 60 + round(height * aspect(who)), 70 + height)
    found = drawn(who, rect)
    # An outline may spill over by half its width, and long hair begins below the top.
    assert found.iou(Box(*map(float, rect))) > 0.9
    assert all(abs(one - other) <= 9 for one, other in zip(found.as_tuple(), rect, strict=True))


def test_nothing_is_drawn_outside_of_the_boxes(monkeypatch: pytest.MonkeyPatch):
    plain: list[Image.Image] = []
    draw = generate.draw_scene

    def both(placed: list[tuple[Character, tuple[int, int, int, int]]], rng: random.Random) -> Image.Image:
        state = rng.getstate()
        plain.append(draw([], rng))  # the same backdrop
        rng.setstate(state)
        return draw(placed, rng)

    monkeypatch.setattr(generate, "draw_scene", both)
    posts = World().posts("train", 40)
    for post, backdrop in zip(posts, plain, strict=True):
        changed = np.abs(np.asarray(post.image, int) - np.asarray(backdrop, int)).max(-1) > 8
        for thing in post.scene:
            x1, y1, x2, y2 = map(int, thing.box.as_tuple())
            assert changed[y1:y2, x1:x2].mean() > 0.15  # the thing is there
            changed[max(y1 - 2, 0) : y2 + 2, max(x1 - 2, 0) : x2 + 2] = False
        assert not changed.any()


def test_everybody_looks_different():
    looks = set()
    for who in characters():
        looks.add(draw_scene([(who, (60, 60, 180, 180))], random.Random(0)).tobytes())
    assert len(looks) == len(characters()) == len(CAST)


def test_the_cast_has_lookalikes_and_companions_for_all():
    for who in characters():
        others = lookalikes(who.name)
        assert others
        assert all((other.type, other.kind) == (who.type, who.kind) and other is not who for other in others)
        assert companion(who.name).type != who.type
    assert {who.type for who in characters()} == {"PER", "LOC", "ORG", "OTHER"}


def test_no_name_is_part_of_another():
    assert not [(one, two) for one in CAST for two in CAST if one != two and one in two]


def test_a_text_names_each_once_whatever_their_number():
    rng = random.Random(0)
    for count in [0, 1, 2, 3, 4, 5, 6] * 20:
        named = rng.sample(characters(), count)
        text = write_text(named, rng)
        assert text.strip()
        assert {name: text.count(name) for name in CAST if name in text} == {who.name: 1 for who in named}


def test_refusals():
    with pytest.raises(InputError, match=r"Unknown slices.*accepted: shown, absent"):
        World(slices={"shown": 1.0, "blurred": 1.0})
    with pytest.raises(InputError, match="Unknown slices"):
        World(slices={"shown": 0.0})
    with pytest.raises(InputError, match=r"Unknown split.*validation.*train, dev, test, pretrain"):
        World().posts("validation", 1)
