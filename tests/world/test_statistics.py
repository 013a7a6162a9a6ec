"""Statistics of posts: small examples, the world, and the stored figures of Twitter-GMNER."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gmner.data.post import Post, SceneObject
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.data.world.generate import World
from gmner.data.world.plans import SLICES
from gmner.data.world.statistics import TWITTER_GMNER, side_by_side, statistics
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity

ONE, TWO = Box(0, 0, 10, 10), Box(20, 0, 30, 10)
ANA = GoldEntity("Ana", 0, 3, "PER", (ONE, TWO))
ORBIX = GoldEntity("Orbix", 4, 9, "ORG")
SCENE = (
    SceneObject("Ana", "PER", ONE, covered=0.2),
    SceneObject("Ana", "PER", TWO, depth=1),
    SceneObject("tree", "", TWO, covered=0.5, depth=2),
)
POSTS = [
    Post("1", "Ana Orbix now", None, (ANA, ORBIX), None, SCENE, "mixed"),
    Post("2", "Ana and", None, (replace(ANA, boxes=(ONE,)),), ("Ana", "an", "d"), (), "shown"),
    Post("3", "Ana and", None, (), None, (SCENE[2],), "empty"),
    Post("4", "Orbix , Orbix", None, tuple(GoldEntity("Orbix", at, at + 5, "ORG") for at in (0, 8)), None, (), "empty"),
]


def test_statistics_of_a_small_example():
    found = statistics(iter(POSTS))
    assert (found.posts, found.mentions, found.mean_mentions, found.most_mentions) == (4, 5, 1.25, 2)
    assert found.without_entity == 25
    assert found.types == {"PER": 40, "ORG": 60}
    assert list(found.types) == ["PER", "ORG"]
    assert (found.not_shown, found.several_boxes) == (60, 20)
    assert (found.adjacent_pairs, found.adjacent) == (1, 20)
    assert found.mean_tokens == (3 + 3 + 2 + 3) / 4
    assert found.distinct_texts == 75
    assert found.slices == {"shown": 25, "mixed": 25, "empty": 50}
    assert (found.mean_things, found.most_things) == (0.5, 2)
    assert found.partly_covered == 25


def test_unknown_figures_are_none():
    bare = [replace(post, scene=None, slice=None, grounded=False) for post in POSTS]
    found = statistics(bare)
    assert found.slices is found.mean_things is found.most_things is found.partly_covered is None
    assert found.not_shown is found.several_boxes is None
    nothing = statistics([POSTS[2]])
    assert (nothing.mentions, nothing.types, nothing.not_shown, nothing.adjacent) == (0, {}, None, None)


def test_refusals():
    with pytest.raises(InputError, match="must not be empty"):
        statistics([])
    with pytest.raises(InputError, match=r"not annotated.*'9'"):
        statistics([*POSTS, Post("9", "Ana")])


def test_json_and_rows():
    found = statistics(POSTS)
    assert json.loads(json.dumps(found.to_dict()))["types"] == {"PER": 40, "ORG": 60}
    assert json.loads(json.dumps(TWITTER_GMNER.to_dict()))["slices"] is None
    rows = side_by_side({"mine": found, "Twitter-GMNER": TWITTER_GMNER})
    assert {len(row) for row in rows} == {3}
    cells = {row[0]: row[1:] for row in rows}
    assert cells[""] == ("mine", "Twitter-GMNER")
    assert cells["mentions"] == ("5", "11,779")
    assert cells["mentions of type LOC, %"] == ("-", "16.28")
    assert cells["posts of slice empty, %"] == ("50.00", "-")
    assert cells["mentions not shown, %"] == ("60.00", "59.82")


def test_world_has_all_statistics():
    found = statistics(World().posts("train", 60))
    assert None not in found.to_dict().values()
    assert set(found.slices) <= set(SLICES)
    assert sum(found.slices.values()) == pytest.approx(100)
    assert sum(found.types.values()) == pytest.approx(100)
    assert 1 <= found.mean_mentions <= found.most_mentions <= 6


@pytest.mark.slow
def test_stored_statistics_of_twitter_gmner_match_its_files(twitter_root: Path):
    assert statistics(read_twitter_gmner(twitter_root, "train")) == TWITTER_GMNER
