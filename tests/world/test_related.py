"""Posts of the world in the form of MNER-MI and GREC."""

import pytest

import gmner
from gmner.data.world.generate import World
from gmner.signatures.errors import InputError


def test_expressions_fit_all_of_their_targets_and_nothing_else():
    posts = gmner.expression_posts(World(), "train", 60)
    assert {post.slice for post in posts} == {"no target", "one target", "several targets"}
    for post in posts:
        (entity,), things = post.gold, [thing for thing in post.scene or () if thing.type]
        assert post.task == "grec"
        words = entity.span.partition(" ")[2]
        assert len(entity.boxes) < 2 or entity.span.startswith("every ")
        if words.startswith("person with "):
            details = words.removeprefix("person with ").split(" and ")
            fitting = [thing for thing in things if thing.type == "PER" and {*details} <= {*thing.attributes}]
        else:
            fitting = [
                t
                for t in things
                if t.type != "PER" and words in (t.attributes[0], f"{t.attributes[1]} {t.attributes[0]}")
            ]
        assert {thing.box for thing in fitting} == {*entity.boxes}


def test_names_have_no_regions():
    own = World().posts("dev", 3)
    posts = gmner.name_posts(World(), "dev", 3, pictures=3)
    for before, post in zip(own, posts, strict=True):
        assert [(e.span, e.start, e.type) for e in post.gold] == [(e.span, e.start, e.type) for e in before.gold]
        assert not any(entity.boxes for entity in post.gold)
        assert (post.task, post.scene, len(post.images)) == ("mner", None, 3)
    with pytest.raises(InputError, match="needs an image"):
        gmner.name_posts(World(), "dev", 1, pictures=0)


def test_posts_are_the_same_every_time():
    for make in (gmner.expression_posts, gmner.name_posts):
        texts = [post.text for post in make(World(seed=2), "test", 8)]
        assert texts == [post.text for post in make(World(seed=2), "test", 8)]
        assert texts[4:] == [post.text for post in make(World(seed=2), "test", 4, start=4)]
