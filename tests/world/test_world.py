"""The world: reproducible posts, in slices that match their definition, with gold that matches the drawing."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from gmner.data.post import Post
from gmner.data.world import generate
from gmner.data.world.cast import Character, called, character, characters, companion, known, lookalikes
from gmner.data.world.drawing import SIDE
from gmner.data.world.generate import MENTIONS, TYPES, World
from gmner.data.world.plans import SLICES, Casting, plan
from gmner.signatures.errors import InputError

HELD_OUT = {who.name for who in characters() if who.held_out}
CHECKSUM = "f624914ad25d8367"
DRAWN = "8a29c0fefe2bf242"


@pytest.fixture(scope="module")
def posts() -> list[Post]:
    return World().posts("test", 60)


def plans(name: str, count: int = 400) -> list[tuple[list[Character], list[Character]]]:
    """The plans of posts of one slice: mentioned and shown entities, without drawing."""
    return [plan(name, Casting(MENTIONS, TYPES, 0.3, random.Random(seed))) for seed in range(count)]


def test_post_depends_only_on_seed_split_and_index(posts):
    again = World().post("test", 7)
    assert (again.text, again.entities, again.scene) == (posts[7].text, posts[7].entities, posts[7].scene)
    assert again.image.tobytes() == posts[7].image.tobytes()
    assert World().posts("test", 1, start=7)[0].text == posts[7].text
    assert World(seed=1).post("test", 7).text != posts[7].text


def test_checksum_of_twelve_posts():
    """If you change the posts of the world, increase WORLD_VERSION: scores on different worlds are not comparable."""
    assert (generate.WORLD_VERSION, World().checksum("test", 12, pictures=False)[:16]) == (2, CHECKSUM)


def test_checksum_of_twelve_images():
    """Pixels are reproducible with the versions of Pillow and numpy in `constraints.txt`."""
    assert World().checksum("test", 12)[:16] == DRAWN


@pytest.mark.slow
def test_splits_share_no_post():
    splits = {split: World().posts(split, 10) for split in ("train", "dev", "test", "pretrain")}
    for split, found in splits.items():
        assert [post.id for post in found] == [f"{split}-{index}" for index in range(10)]
    whole = [(post.text, post.scene) for found in splits.values() for post in found]
    assert len(set(whole)) == len(whole)


def test_gold_offsets_and_boxes_are_valid(posts):
    for post in posts:
        assert post.text == " ".join(post.tokens)
        assert post.image.size == (SIDE, SIDE)
        assert all(thing.box.inside(post.image.size) for thing in post.scene)
        assert all(one.end <= two.start for one, two in pairwise(post.gold))
        for gold in post.gold:
            assert post.text[gold.start : gold.end] == gold.span
            who = called(gold.span, gold.type)
            there = [thing.box for thing in post.scene if (thing.name, thing.type) == who.key]
            assert gold.boxes == tuple(there)


def test_scene_contains_every_drawn_look(posts):
    for post in posts:
        for thing in post.scene:
            if thing.type:
                assert thing.attributes == character(thing.name, thing.type).attributes
            else:
                assert thing.name not in {who.name for who in characters()}


def test_proportions_are_those_of_twitter_gmner():
    drawn = [pair for name, share in SLICES.items() for pair in plans(name, round(4000 * share))]
    named = [(who, shown) for mentioned, shown in drawn for who in mentioned]
    assert sum(who not in shown for who, shown in named) / len(named) == pytest.approx(0.60, abs=0.02)
    assert sum(not mentioned for mentioned, _ in drawn) / len(drawn) == pytest.approx(0.05, abs=0.005)
    assert len(named) / len(drawn) == pytest.approx(1.7, abs=0.05)
    assert max(len(mentioned) for mentioned, _ in drawn) == 6


def kinds(cast: list[Character]) -> set[tuple[str, str]]:
    return {(who.type, who.kind) for who in cast}


def test_shown():
    for named, shown in plans("shown"):
        assert named
        assert set(named) <= set(shown)


def test_absent():
    drawn = plans("absent")
    assert any(shown for _, shown in drawn)
    for named, shown in drawn:
        assert named
        assert not kinds(named) & kinds(shown)


def test_lookalike():
    drawn = plans("lookalike")
    for named, shown in drawn:
        assert named[0] not in shown
        assert set(lookalikes(named[0])) & set(shown)
    alike = [next(who for who in shown if who in lookalikes(named[0])) for named, shown in drawn]
    same_colour = sum(who.colours[0] == named[0].colours[0] for who, (named, _) in zip(alike, drawn, strict=True))
    assert same_colour / len(drawn) > 0.75


def test_companion():
    drawn = plans("companion")
    for named, shown in drawn:
        assert companion(named[0]) in shown
        assert companion(named[0]) not in named
    assert 0.4 < sum(named[0] in shown for named, shown in drawn) / len(drawn) < 0.6


def test_mixed():
    for named, shown in plans("mixed"):
        assert {who in shown for who in named} == {True, False}


def test_several():
    for named, shown in plans("several"):
        assert shown.count(named[0]) == 2


def test_empty():
    drawn = plans("empty")
    assert {bool(shown) for _, shown in drawn} == {True, False}
    assert not any(named for named, _ in drawn)


def test_unseen_look():
    drawn = plans("unseen-look")
    roles = Counter()
    for named, shown in drawn:
        new = next(who for who in [*named, *shown] if who.held_out)
        roles["named" if new in named else "", "shown" if new in shown else ""] += 1
        if new not in named:
            assert set(named) & set(lookalikes(new))
        if new not in shown:
            assert set(shown) & set(lookalikes(new))
    assert {role for role, count in roles.items() if count > 40} == {("named", "shown"), ("named", ""), ("", "shown")}


def test_held_out_entities_occur_only_in_their_slice():
    for name in set(SLICES) - {"unseen-look"}:
        assert not any(who.held_out for named, shown in plans(name) for who in [*named, *shown])
    for post in World(slices={"unseen-look": 1.0, "shown": 0.2}).posts("pretrain", 15):
        assert post.slice == "shown"
        assert not {thing.name for thing in post.scene if thing.type} & (HELD_OUT - {"Otto Voss"})


def test_post_may_mention_an_entity_twice():
    for post in World(named_twice=1.0, slices={"shown": 1.0}, mentions={2: 1.0}).posts("dev", 5):
        assert len(post.gold) == 3
        assert len(Counter((gold.type, gold.boxes) for gold in post.gold)) == 2


def test_every_proportion_is_a_parameter():
    drawn = World(slices={"mixed": 1.0}, mentions={4: 1.0}, types={"LOC": 1.0}, also_shown=1.0, named_twice=0.0).posts(
        "dev", 4
    )
    for post in drawn:
        assert [gold.type for gold in post.gold] == ["LOC"] * 4
        assert sum(gold.visible for gold in post.gold) == 3


@pytest.mark.parametrize("name", SLICES)
def test_many_entities_fit_into_an_image(name):
    for post in World(slices={name: 1.0}, mentions={6: 1.0}, also_shown=1.0).posts("dev", 6):
        assert len([thing for thing in post.scene if thing.type]) <= 6


def test_cast_of_entities():
    cast = characters()
    assert len(cast) >= 120
    assert {who.type for who in cast} == {"PER", "LOC", "ORG", "OTHER"}
    assert len({who.key for who in cast}) == len(cast)
    surfaces = [(words, who.type) for who in cast for words in who.surfaces]
    assert len(set(surfaces)) == len(surfaces)
    assert len({(who.type, who.kind, who.colours) for who in cast}) == len(cast)
    assert {who for who in cast if not who.held_out} == set(known()) != set(cast)
    shared = [name for name, count in Counter(who.name for who in cast).items() if count > 1]
    assert {tuple(sorted(who.type for who in cast if who.name == name)) for name in shared} >= {("ORG", "PER")}
    for who in cast:
        first, *others = lookalikes(who)
        assert first.colours[0] == who.colours[0]
        assert all((other.type, other.kind) == (who.type, who.kind) and other != who for other in [first, *others])
        assert companion(who).type != who.type
        assert who.handle.startswith("@")


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"slices": {"shown": 1.0, "blurred": 1.0}}, r"slices must map known names to shares.*Accepted: shown, absent"),
        ({"slices": {"shown": 0.0}}, "slices must map"),
        ({"slices": {}}, "slices must map"),
        ({"mentions": {7: 1.0}}, "numbers of mentions must map known names.*Accepted: 1, 2, 3, 4, 5, 6"),
        ({"types": {"PER": -1.0}}, "types must map"),
        ({"also_shown": 1.2}, "`also_shown` must be from 0 to 1"),
        ({"named_twice": -0.1}, "`named_twice` must be from 0 to 1"),
    ],
)
def test_refusals(given, fact):
    with pytest.raises(InputError, match=fact):
        World(**given)


def test_refusals_of_splits():
    with pytest.raises(InputError, match=r"Unknown split.*validation.*train, dev, test, pretrain"):
        World().posts("validation", 1)
    with pytest.raises(InputError, match=r"`pretrain` cannot contain posts of the slice `unseen-look`"):
        World(slices={"unseen-look": 1.0}).post("pretrain", 0)
