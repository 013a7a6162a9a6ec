"""Styles: a chain says nothing that the gold contradicts, in signs that the answer's schema allows."""

import json
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.optimizers.styles import TEMPLATES, Facts, plain, write_chain
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import MAX_REASONING, free_text_schema
from gmner.signatures.wire import Frame

FRAME = Frame(BoxFormat("normalized", 1000), (256, 256))
ALLOWED = re.compile(free_text_schema()["pattern"])
POSTS = World(seed=3).posts("train", 150)
SCENELESS = [replace(post, scene=None) for post in POSTS]
BOX = re.compile(r"\[\d+(?:,\d+){3}\]")

styles = pytest.mark.parametrize("style", TEMPLATES)
scenes = pytest.mark.parametrize("posts", [POSTS, SCENELESS], ids=["scene", "no-scene"])


def chain(style: str, post: Post, seed: int = 0, limit: int = MAX_REASONING) -> str:
    return write_chain(TEMPLATES[style], Facts.of(post, FRAME), random.Random(seed), limit)


def between(text: str, start: str, end: str) -> str:
    """What stands between two marks, the end of the text counting as one."""
    assert start in text
    return text.split(start, 1)[1].split(end, 1)[0]


def wire(box: Box) -> str:
    return json.dumps(FRAME.encode(box), separators=(",", ":"))


@styles
@scenes
def test_signs_length_and_spans(style: str, posts: list[Post]):
    for post in posts:
        text = chain(style, post)
        assert ALLOWED.fullmatch(text)
        assert 0 < len(text) <= MAX_REASONING
        assert all(gold.span in text for gold in post.gold)
        assert all(gold.type in text for gold in post.gold)


@styles
@scenes
def test_every_box_is_one_of_a_thing_that_is_shown_and_follows_its_name(style: str, posts: list[Post]):
    for post in posts:
        text = chain(style, post)
        known = {(gold.span, wire(box)) for gold in post.gold for box in gold.boxes}
        known |= {(thing.name, wire(thing.box)) for thing in post.scene or ()}
        for found in BOX.finditer(text):
            before = text[: found.start()].rstrip()
            assert any(
                box == found[0] and (before.endswith(name) or before.endswith("in the picture at"))
                for name, box in known
            )
        for gold in post.gold:
            assert not gold.boxes or wire(gold.boxes[0]) in text


@scenes
def test_claims_of_picture_first(posts: list[Post]):
    for post in posts:
        text = chain("picture_first", post)
        verdicts = dict(re.findall(r"([^.:;]+): (shown|not shown)\.", text.split("ames: ", 1)[1]))
        said = {name.strip(): verdict for name, verdict in verdicts.items()}
        assert said == {gold.span: "shown" if gold.visible else "not shown" for gold in post.gold}


@scenes
def test_claims_of_stepwise(posts: list[Post]):
    for post in posts:
        text = chain("stepwise", post)
        shown = [gold for gold in post.gold if gold.visible]
        assert between(text, "Names: ", ". Types") == (", ".join(gold.span for gold in post.gold) or "none")
        assert between(text, "Types: ", ". Picture") == (", ".join(f"{g.span} {g.type}" for g in post.gold) or "none")
        assert between(text, "Shown: ", ". Boxes") == (", ".join(gold.span for gold in shown) or "none")
        assert text.endswith("Boxes: " + (", ".join(f"{g.span} {wire(g.boxes[0])}" for g in shown) or "none") + ".")


@scenes
def test_claims_of_entity_by_entity(posts: list[Post]):
    for post in posts:
        text = chain("entity_by_entity", post)
        for gold in post.gold:
            seen = f"{gold.span} is {gold.type}, in the picture at " in text
            missing = f"{gold.span} is {gold.type}, not in the picture" in text
            assert (seen, missing) == (gold.visible, not gold.visible)
        named = {gold.span for gold in post.gold}
        there = {thing.name: thing.type for thing in post.scene or ()}
        for kind, instead in re.findall(r"is ([A-Z]+), not in the picture, which shows ([^.]+) instead", text):
            assert instead not in named
            assert there[instead] == kind
        if not post.gold:
            assert text.startswith("Names: none.")


@scenes
def test_claims_of_elimination(posts: list[Post]):
    for post in posts:
        text = chain("elimination", post)
        absent = [gold.span for gold in post.gold if not gold.visible]
        shown = [f"{gold.span} {wire(gold.boxes[0])}" for gold in post.gold if gold.visible]
        named = {gold.span for gold in post.gold}
        assert between(text, "In both: ", ". Only named") == (", ".join(shown) or "none")
        assert between(text, "Only named: ", ".") == (", ".join(absent) or "none")
        assert ("Only shown" in text) == (post.scene is not None)  # not known is not said
        if post.scene is not None:
            unnamed = dict.fromkeys(thing.name for thing in post.scene if thing.name not in named)
            assert between(text, "Only shown: ", ".") == (", ".join(unnamed) or "none")


@pytest.mark.parametrize("style", ["picture_first", "stepwise", "elimination"])
@scenes
def test_the_picture_is_what_is_known_of_it(style: str, posts: list[Post]):
    for post in posts:
        said = between(chain(style, post), "Picture: ", ". ")
        if post.scene is not None:
            things = [f"{thing.name} {wire(thing.box)}" for thing in post.scene]
            assert sorted(said.split("; ")) == sorted(things or ["nothing"])
        elif any(gold.visible for gold in post.gold):
            assert {part.split(" [")[0] for part in said.split("; ")} == {g.span for g in post.gold if g.visible}
        else:
            assert said == "none of the names"  # "nothing" would be a guess: the scene is not known


@styles
def test_a_chain_depends_on_the_seed_only(style: str):
    assert [chain(style, post, 5) for post in POSTS[:20]] == [chain(style, post, 5) for post in POSTS[:20]]


def test_wording_varies_where_a_style_has_several():
    assert len({chain("picture_first", POSTS[0], seed) for seed in range(20)}) == 2


HOSTILE = 'Kevin "KD"\\o/ <x>\tAb\n\x07Cd\x7f  \u2028Z'


@styles
def test_quotes_backslashes_and_control_characters_in_a_span(style: str):
    gold = (GoldEntity(HOSTILE, 0, len(HOSTILE), "PER", (Box(0, 0, 128, 256),)),)
    text = chain(style, Post("a", HOSTILE, None, gold))
    assert ALLOWED.fullmatch(text)
    assert "Kevin 'KD'/o/ <x> Ab Cd Z" in text
    assert json.loads(json.dumps({"reasoning": text}))["reasoning"] == text


@styles
@given(span=st.text(min_size=1, max_size=60), limit=st.integers(0, 200))
def test_any_span_gives_an_allowed_chain_within_the_limit(style: str, span: str, limit: int):
    gold = (GoldEntity(span, 0, len(span), "ORG", ()),)
    text = chain(style, Post("a", span, None, gold), limit=limit)
    assert len(text) <= limit
    assert ALLOWED.fullmatch(text)


@styles
def test_a_long_chain_ends_behind_a_sentence(style: str):
    names = [f"Name{number:03d}" for number in range(80)]
    text = " ".join(names)
    gold = tuple(GoldEntity(name, text.index(name), text.index(name) + len(name), "PER", ()) for name in names)
    long = chain(style, Post("a", text, None, gold))
    assert len(long) <= MAX_REASONING
    assert not long or long.endswith(".")


def test_a_style_of_ones_own():
    def shout(facts: Facts, rng: random.Random) -> str:
        return f'"{len(facts.shown)}\\{len(facts.absent)}"\n' + rng.choice(["a", "b"])

    post = next(post for post in POSTS if post.slice == "shown" and len(post.gold) == 2)
    assert write_chain(shout, Facts.of(post, FRAME), random.Random(0)) in ("'2/0' a", "'2/0' b")


def test_no_reasoning_is_a_style():
    assert write_chain(plain, Facts.of(POSTS[0], FRAME), random.Random(0)) == ""
