"""Reasoning chains: the posts used for training, their split, and the chains written for them."""

import dataclasses
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from worlds import Lazy, drawn

from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.split import check_pictures, check_trainset, split_posts, stratum
from gmner.optimizers.chains.styles import TEMPLATES, plain
from gmner.optimizers.chains.writing import ChainWriting, write_chains
from gmner.programs.adapter import PromptAdapter
from gmner.programs.models.families import profile_for_name
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.forms import as_entity
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import Frame

ADAPTER = PromptAdapter(COARSE, profile_for_name("Qwen2.5-VL"))
FRAME = Frame(BoxFormat(), (256, 256))
WORLD = drawn("train", 40)
POSTS = Lazy(
    lambda: [dataclasses.replace(post, id=f"train-{40 * n + i}") for n in range(5) for i, post in enumerate(WORLD)]
)
"""Forty posts, five times each."""
FRAMES = {f"train-{number}": FRAME for number in range(200)}
SEEN = GoldEntity("a", 0, 1, "PER", (Box(0, 0, 1, 1),))
MISSING = GoldEntity("b", 2, 3, "PER", ())
ONE, OTHER = (Post(name, "a b", None, (MISSING,)) for name in ("one", "other"))


@pytest.mark.parametrize(
    ("gold", "name"),
    [((), "empty"), ((SEEN,), "shown"), ((MISSING,), "absent"), ((SEEN, MISSING), "mixed")],
)
def test_strata(gold: tuple[GoldEntity, ...], name: str):
    assert stratum(Post("x", "a b", None, gold)) == name


@given(count=st.integers(1, 200), share=st.floats(0.01, 1.0), seed=st.integers(0, 50))
def test_split_is_complete_disjoint_and_stratified(count: int, share: float, seed: int):
    posts = POSTS[:count]
    first, second = split_posts(posts, share, random.Random(seed))
    assert sorted(post.id for post in (*first, *second)) == sorted(post.id for post in posts)
    assert abs(len(first) - share * count) <= 1
    whole, part = Counter(map(stratum, posts)), Counter(map(stratum, first))
    assert all(abs(part[name] - share * whole[name]) <= 1 for name in whole)


def test_split_depends_only_on_the_seed():
    def ids(seed: int) -> list[list[str]]:
        return [[post.id for post in part] for part in split_posts(POSTS, 0.5, random.Random(seed))]

    assert ids(3) == ids(3) != ids(4)


def test_split_of_few_posts_in_many_strata():
    posts = [Post(str(n), "a b", None, gold) for n, gold in enumerate([(), (SEEN,), (MISSING,), (SEEN, MISSING)])]
    first, second = split_posts(posts, 0.5, random.Random(0))
    assert (len(first), len(second)) == (2, 2)


def test_d1_can_have_all_posts():
    first, second = split_posts(POSTS, 1.0, random.Random(0))
    assert (len(first), second) == (200, [])


@pytest.mark.parametrize(
    ("posts", "message"),
    [
        ([], "The training set is empty"),
        ([ONE, dataclasses.replace(OTHER, entities=None)], "not annotated.*other"),
        ([ONE, OTHER, ONE], "have the same id.*one"),
    ],
)
def test_invalid_trainsets_are_refused(posts: list[Post], message: str):
    with pytest.raises(InputError, match=message):
        check_trainset(posts)
    with pytest.raises(InputError, match=message):
        split_posts(posts, 0.5, random.Random(0))


def test_boxes_without_an_image_are_refused():
    check_pictures([*POSTS, Post("text", "a b", None, (MISSING,))], ADAPTER)
    blind = [Post(name, "a b", None, (SEEN, MISSING)) for name in ("x", "y")]
    with pytest.raises(InputError, match=r"2 posts .* no image.*'x'.*images="):
        check_pictures([*POSTS[:3], *blind], ADAPTER)


def test_unreadable_image_is_refused_with_its_post(tmp_path: Path):
    picture = tmp_path / "cut.png"
    Image.effect_noise((99, 99), 60).save(picture)
    posts = [POSTS[0], Post("x", "a b", picture, (SEEN,)), POSTS[1]]
    check_pictures(posts, ADAPTER)
    picture.write_bytes(picture.read_bytes()[:2000])
    with pytest.raises(ImageError, match=r"Post 'x' .*truncated.*cut\.png"):
        check_pictures(posts, ADAPTER)
    picture.unlink()
    with pytest.raises(ImageError, match=r"Post 'x' .*missing.*cut\.png.*Leave this post out"):
        check_pictures(posts, ADAPTER)
    Image.new("RGB", (900, 4)).save(picture)
    with pytest.raises(ImageError, match=r"Post 'x' .*too narrow.*900, 4"):
        check_pictures(posts, ADAPTER)


@pytest.mark.parametrize("per_post", [1, 2, 4])
def test_chains_of_a_post_have_different_styles(per_post: int):
    chains = write_chains(POSTS, FRAMES, ChainWriting(TEMPLATES, per_post), random.Random(0))
    assert Counter(chain.post_id for chain in chains) == {post.id: per_post for post in POSTS}
    assert len({(chain.post_id, chain.style) for chain in chains}) == len(chains)
    counts = Counter(chain.style for chain in chains)
    assert counts.keys() == TEMPLATES.keys()
    assert min(counts.values()) > 0.5 * max(counts.values())


def test_number_of_chains_is_limited_by_the_styles():
    chains = write_chains(POSTS[:3], FRAMES, ChainWriting({"plain": plain}, 2), random.Random(0))
    assert [chain.reasoning for chain in chains] == ["", "", ""]


def test_chain_has_the_gold_answer():
    by_id = {post.id: post for post in POSTS}
    for chain in write_chains(POSTS, FRAMES, ChainWriting(TEMPLATES), random.Random(0)):
        gold = by_id[chain.post_id].gold
        assert [as_entity(entity) for entity in chain.entities] == [as_entity(entity) for entity in gold]
        assert [entity["box"] is not None for entity in chain.entities] == [entity.visible for entity in gold]


def test_chains_respect_the_length_limit():
    chains = write_chains(POSTS, FRAMES, ChainWriting(TEMPLATES, 4, limit=60), random.Random(0))
    assert max(len(chain.reasoning) for chain in chains) <= 60
    assert any(chain.reasoning for chain in chains)


def test_records_are_json_and_round_trip():
    for chain in write_chains(POSTS[:30], FRAMES, ChainWriting(TEMPLATES, 2), random.Random(0)):
        assert Chain.from_record(json.loads(json.dumps(chain.to_record()))) == chain


def test_chains_depend_only_on_the_seed():
    one, two, other = (
        write_chains(POSTS[:20], FRAMES, ChainWriting(TEMPLATES, 2), random.Random(seed)) for seed in (1, 1, 2)
    )
    assert one == two
    assert one != other
