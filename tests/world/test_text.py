"""Texts of the world: mentions are at their offsets, and there are no other names."""

import random
import re
from collections import Counter
from itertools import combinations_with_replacement, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Lazy

from gmner.data.world import phrases
from gmner.data.world.cast import Character, characters
from gmner.data.world.clauses import CLAUSES
from gmner.data.world.text import LONGEST, SHORTEST, Said, Written, write_text

TYPES = ("PER", "LOC", "ORG", "OTHER")
SURFACES = {surface for who in characters() for surface in who.surfaces}
ONE_WORD = {surface for surface in SURFACES if " " not in surface}
MIXED = (0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6)
CASTS = st.lists(st.sampled_from(characters()), max_size=6)


def lines(block: str) -> list[str]:
    return block.strip().splitlines()


TEMPLATES = [
    line.strip()
    for table in (CLAUSES, phrases.TRIPLES, phrases.NEXT, phrases.LISTS)
    for block in table.values()
    for line in lines(block)
]


def drawn(count: int, seed: int) -> list[tuple[list[Character], Written]]:
    """Casts and their texts, with some entities mentioned twice."""
    rng = random.Random(seed)
    posts = []
    for _ in range(count):
        named = rng.sample(characters(), rng.choice(MIXED))
        if 0 < len(named) < 6 and rng.random() < 0.1:
            named.append(rng.choice(named))
        posts.append((named, write_text(named, rng)))
    return posts


POSTS = Lazy(lambda: drawn(5000, 1))


def words(said: Said, text: str) -> str:
    return text[said.start : said.end]


def outside(written: Written) -> list[list[str]]:
    """The tokens outside of mentions."""
    ends = [0, *(said.end for said in written.said)]
    starts = [*(said.start for said in written.said), len(written.text)]
    return [written.text[end:start].split() for end, start in zip(ends, starts, strict=True)]


def check(named: list[Character], written: Written) -> None:
    text = written.text
    assert text == " ".join(text.split())
    assert not re.search(r"[{}*]", text)
    assert SHORTEST <= len(text.split()) <= LONGEST
    assert Counter(said.who for said in written.said) == Counter(named)
    assert all(one.end < two.start for one, two in pairwise(written.said))
    for said in written.said:
        assert words(said, text) in said.who.surfaces
        assert f" {text} "[said.start] == f" {text} "[said.end + 1] == " "


@given(CASTS, st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_text_has_the_requested_mentions_as_whole_tokens(named: list[Character], seed: int):
    check(named, write_text(named, random.Random(seed)))


def test_mentions_of_thousands_of_posts():
    for named, written in POSTS:
        check(named, written)


@pytest.mark.parametrize("count", range(1, 7))
def test_repeated_entities(count: int):
    for seed in range(100):
        named = [characters()[seed % len(characters())]] * count
        check(named, write_text(named, random.Random(seed)))


def test_no_other_names_except_common_words():
    for named, written in POSTS:
        for tokens in outside(written):
            runs = {" ".join(tokens[i : i + size]) for size in (1, 2, 3) for i in range(len(tokens) - size + 1)}
            assert {run for run in runs & SURFACES if run.lower() not in phrases.PLAIN} == set()
            lowered = {token.lower() for token in tokens}
            called = {word.lower() for who in named for word in who.surfaces if " " not in word}
            assert not called & lowered


def test_common_uses_of_name_words_occur():
    lowered = {surface.lower() for surface in ONE_WORD} & set(phrases.PLAIN)
    found = [token for _, written in POSTS for tokens in outside(written) for token in tokens]
    assert len({token for token in found if token in lowered}) > 15
    assert any(token in ONE_WORD for token in found)


def test_templates_contain_no_names():
    lowered = {surface.lower() for surface in SURFACES}
    blocks = [phrases.FILLERS, phrases.EMPTY, phrases.OPENERS, phrases.CLOSERS]
    for line in TEMPLATES + [line for block in blocks for line in lines(block)]:
        tokens = line.lower().replace("#", "").split()
        assert not lowered & {" ".join(tokens[i : i + size]) for size in (1, 2, 3) for i in range(len(tokens))}
    assert not lowered & {word.lower() for word in [*phrases.TAGS, *phrases.ACCOUNTS, *phrases.SHORT.values()]}
    for word, clauses in phrases.PLAIN.items():
        for clause in clauses.split("|"):
            assert word in clause.split()
            assert lowered & set(clause.split()) <= {word}


def test_every_type_pair_and_triple_has_clauses():
    assert set(CLAUSES) == {(t,) for t in TYPES} | set(combinations_with_replacement(TYPES, 2))
    assert set(phrases.NEXT) == set(combinations_with_replacement(TYPES, 2))
    assert set(phrases.TRIPLES) == set(combinations_with_replacement(TYPES, 3))
    assert set(phrases.LISTS) == {*TYPES, ""}


def test_template_has_each_type_once():
    assert len(set(TEMPLATES)) >= 350
    for table in (CLAUSES, phrases.TRIPLES, phrases.NEXT):
        for types, block in table.items():
            assert len(set(lines(block))) == len(lines(block))
            for line in lines(block):
                assert sorted(re.findall(r"\{([abc])(?:\}|:)", line)) == list("abc"[: len(types)])
    assert all(line.count("*") == 1 for block in phrases.LISTS.values() for line in lines(block))


def test_groups_replace_their_type():
    of = {"club": "ORG", "firm": "ORG", "prize": "OTHER", "ware": "OTHER", "craft": "OTHER"}
    for table in (CLAUSES, phrases.TRIPLES, phrases.NEXT):
        for types, block in table.items():
            for letter, group in re.findall(r"\{([abc]):(\w+)\}", block):
                assert of[group] == types["abc".index(letter)]


def test_adjacent_mentions():
    posts = [written for _, written in POSTS if len(written.said) > 1]
    share = sum(any(a.end + 1 == b.start for a, b in pairwise(post.said)) for post in posts) / len(posts)
    assert 0.045 < share < 0.08


def test_names_aliases_and_handles():
    kinds: Counter[str] = Counter()
    for _, written in POSTS:
        for said in written.said:
            found = words(said, written.text)
            if said.who.aliases:
                kinds["name" if found == said.who.name else "handle" if found == said.who.handle else "alias"] += 1
    assert kinds["name"] / kinds.total() == pytest.approx(0.70, abs=0.03)
    assert kinds["alias"] / kinds.total() == pytest.approx(0.18, abs=0.03)
    assert kinds["handle"] / kinds.total() == pytest.approx(0.12, abs=0.03)


def test_repeated_mentions_mostly_use_the_same_words():
    rng, who = random.Random(2), characters()[0]
    posts = [write_text([who, who], rng) for _ in range(500)]
    same = sum(len({words(said, post.text) for said in post.said}) == 1 for post in posts) / len(posts)
    assert 0.75 < same < 0.98


def test_texts_rarely_repeat():
    texts = [written.text for _, written in POSTS]
    assert len(set(texts)) / len(texts) > 0.99
    assert 11 < sum(len(text.split()) for text in texts) / len(texts) < 16


def test_texts_depend_only_on_the_generator():
    assert drawn(50, 3) == drawn(50, 3)
    assert drawn(50, 3) != drawn(50, 4)
