"""Styles: chains agree with the gold annotations and use only the characters that the schema allows."""

import json
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Lazy, drawn

from gmner.data.post import Post, SceneObject
from gmner.optimizers.chains.checker import check_chain
from gmner.optimizers.chains.styles import TEMPLATES, Facts, plain, write_chain
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import MAX_REASONING, free_text_schema
from gmner.signatures.wire import Frame

FRAME = Frame(BoxFormat("normalized", 1000), (256, 256))
ALLOWED = re.compile(free_text_schema()["pattern"])
POSTS = drawn("train", 60, seed=3)
SCENELESS = Lazy(lambda: [replace(post, scene=None) for post in POSTS])
BOX = re.compile(r"\[\d+(?:,\d+){3}\]")

styles = pytest.mark.parametrize("style", TEMPLATES)
scenes = pytest.mark.parametrize("posts", [POSTS, SCENELESS], ids=["scene", "no-scene"])


def chain(style: str, post: Post, seed: int = 0, limit: int = MAX_REASONING) -> str:
    return write_chain(TEMPLATES[style], Facts.of(post, FRAME), random.Random(seed), limit)


def wire(box: Box) -> str:
    return json.dumps(FRAME.encode(box), separators=(",", ":"))


@styles
@scenes
def test_characters_length_and_spans(style: str, posts: list[Post]):
    for post in posts:
        text = chain(style, post)
        assert ALLOWED.fullmatch(text)
        assert 0 < len(text) <= MAX_REASONING
        assert all(gold.span in text for gold in post.gold)
        assert all(gold.type in text for gold in post.gold)


@styles
@scenes
def test_every_box_belongs_to_a_shown_entity(style: str, posts: list[Post]):
    for post in posts:
        text = chain(style, post)
        known = {wire(box) for gold in post.gold for box in gold.boxes}
        known |= {wire(thing.box) for thing in post.scene or ()}
        assert {found[0] for found in BOX.finditer(text)} <= known
        for gold in post.gold:
            assert not gold.boxes or wire(gold.boxes[0]) in text


@styles
@scenes
def test_chains_agree_with_the_gold_and_cover_the_constraints(style: str, posts: list[Post]):
    for post in posts:
        for seed in range(3):
            assert check_chain(chain(style, post, seed), Facts.of(post, FRAME)) == []


EXPECTED = {
    "stepwise": "Names: Ada Lane, Oslo. Types: Ada Lane PER, Oslo LOC. "
    "Picture: Ada Lane [0,0,500,1000]; Orb [500,0,1000,500]. "
    "Shown: Ada Lane. Boxes: Ada Lane [0,0,500,1000]. So 2 entities.",
    "entity_by_entity": "Ada Lane is PER, in the picture at [0,0,500,1000]. "
    "Oslo is LOC, not in the picture, which shows Orb instead. So 2 entities.",
    "questions": "Which names? Ada Lane, Oslo. What types? Ada Lane PER, Oslo LOC. "
    "Is Ada Lane shown? yes, Ada Lane [0,0,500,1000]. "
    "Is Oslo shown? no. So 2 entities.",
    "text_first": "The post names Ada Lane (PER), Oslo (LOC). Ada Lane [0,0,500,1000] is there; Oslo is not there. "
    "So 2 entities.",
    "picture_first": "Picture: Ada Lane [0,0,500,1000]; Orb [500,0,1000,500]. Post names: Ada Lane (PER), Oslo (LOC). "
    "Ada Lane: shown [0,0,500,1000]. Oslo: not shown. So 2 entities.",
    "elimination": "Named: Ada Lane (PER), Oslo (LOC). In both: Ada Lane [0,0,500,1000]. "
    "Only named: Oslo. Only shown: Orb. So 2 entities.",
    "table": "Ada Lane | PER | shown | [0,0,500,1000]; Oslo | LOC | not shown | none. So 2 entities.",
}
HALF, CORNER = Box(0, 0, 128, 256), Box(128, 0, 256, 128)
BY_HAND = Post(
    "1",
    "Ada Lane in Oslo",
    None,
    (GoldEntity("Ada Lane", 0, 8, "PER", (HALF,)), GoldEntity("Oslo", 12, 16, "LOC")),
    scene=(SceneObject("Ada Lane", "PER", HALF), SceneObject("Orb", "LOC", CORNER)),
)


@styles
def test_chain_examples(style: str):
    found = {chain(style, BY_HAND, seed) for seed in range(20)}
    assert EXPECTED[style] in found
    assert len(found) == 2


@styles
@pytest.mark.parametrize("boxes", [(), (Box(0, 0, 128, 256),)], ids=["absent", "shown"])
def test_a_name_is_listed_as_often_as_it_is_mentioned(style: str, boxes: tuple[Box, ...]):
    def post(third: str) -> Post:
        mentions = ("Ada", 0, 3, "PER", boxes), ("Oslo", 8, 12, "LOC"), (third, 15, 18, "PER", boxes)
        gold = tuple(GoldEntity(*mention) for mention in mentions)
        return Post("1", f"Ada and Oslo , {third} !", None, gold, scene=())

    twice = chain(style, post("Ada"))
    assert twice == chain(style, post("Ivo")).replace("Ivo", "Ada")
    assert twice.endswith("So 3 entities.")


@styles
def test_post_without_entities(style: str):
    text = chain(style, replace(BY_HAND, entities=()))
    assert text
    assert "none" in text.lower() or "No name" in text
    assert check_chain(text, Facts.of(replace(BY_HAND, entities=()), FRAME)) == []


def test_styles_begin_differently():
    starts = [{chain(style, post, seed)[:9] for post in POSTS[:40] for seed in range(4)} for style in TEMPLATES]
    names = {gold.span[:9] for post in POSTS for gold in post.gold}
    for number, first in enumerate(starts):
        for other in starts[number + 1 :]:
            assert not {start for start in first & other if not any(start.startswith(name[:4]) for name in names)}


def test_number_of_styles_and_unknown_scene():
    assert len(TEMPLATES) >= 6
    for style in ("picture_first", "elimination"):
        text = chain(style, replace(BY_HAND, scene=None))
        assert "Orb" not in text
        assert "nothing" not in text
        assert "Only shown" not in text


@styles
def test_chain_depends_only_on_the_seed(style: str):
    assert [chain(style, post, 5) for post in POSTS[:20]] == [chain(style, post, 5) for post in POSTS[:20]]


HOSTILE = 'Kevin "KD"\\o/ <x>\tAb\n\x07Cd\x7f  \u2028Z'


@styles
def test_quotes_backslashes_and_control_characters_in_a_span(style: str):
    gold = (GoldEntity(HOSTILE, 0, len(HOSTILE), "PER", (Box(0, 0, 128, 256),)),)
    text = chain(style, Post("a", HOSTILE, None, gold))
    assert ALLOWED.fullmatch(text)
    assert 'Kevin "KD"/o/ <x> Ab Cd Z' in text
    assert json.loads(json.dumps({"reasoning": text}))["reasoning"] == text


@styles
@given(span=st.text(min_size=1, max_size=60), limit=st.integers(0, 200))
def test_any_span_gives_a_valid_chain(style: str, span: str, limit: int):
    gold = (GoldEntity(span, 0, len(span), "ORG", ()),)
    text = chain(style, Post("a", span, None, gold), limit=limit)
    assert len(text) <= limit
    assert ALLOWED.fullmatch(text)


@styles
def test_long_chain_ends_after_a_sentence(style: str):
    names = [f"Name{number:03d}" for number in range(80)]
    text = " ".join(names)
    gold = tuple(GoldEntity(name, text.index(name), text.index(name) + len(name), "PER", ()) for name in names)
    long = chain(style, Post("a", text, None, gold))
    assert len(long) <= MAX_REASONING
    assert not long or long.endswith(".")


def test_user_defined_style():
    def shout(facts: Facts, rng: random.Random) -> str:
        return f'"{len(facts.shown)}\\{len(facts.absent)}"\n' + rng.choice(["a", "b"])

    post = next(post for post in POSTS if post.slice == "shown" and len(post.gold) == 2)
    assert write_chain(shout, Facts.of(post, FRAME), random.Random(0)) in ('"2/0" a', '"2/0" b')


def test_empty_chain_is_a_style():
    assert write_chain(plain, Facts.of(POSTS[0], FRAME), random.Random(0)) == ""
