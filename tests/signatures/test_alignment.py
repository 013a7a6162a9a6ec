"""Pieces, occurrences, and the alignment of the spans of an answer."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import WORDS

from gmner.signatures import alignment as aligning
from gmner.signatures.alignment import Alignment, align, occurrences, pieces

EXACT, REUSED, MISSING = Alignment.EXACT, Alignment.REUSED, Alignment.MISSING
TEXTS = st.text(max_size=30) | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t ", []),
        ("Durant, 35", ["Durant", ",", "35"]),
        ("O'Neil", ["O", "'", "Neil"]),
        ("hi🎉Ada", ["hi", "🎉", "Ada"]),
        ("ירוק עולם", ["ירוק", "עולם"]),
        ("@ MahaveerM_ :", ["@", "Mahaveer", "M", "_", ":"]),
    ],
)
def test_pieces(text, expected):
    assert [text[start:end] for start, end in pieces(text)] == expected


@given(TEXTS)
def test_pieces_cover_everything_but_space(text):
    rest = list(text)
    for start, end in pieces(text):
        rest[start:end] = " " * (end - start)
    assert not "".join(rest).strip()


@given(TEXTS, st.data())
def test_occurrences_begin_and_end_with_a_piece(text, data):
    bounds = pieces(text)
    starts, ends = {start for start, _ in bounds}, {end for _, end in bounds}
    places = [(s, e) for s in starts for e in ends if s < e]
    span = text[slice(*data.draw(st.sampled_from(places)))] if places else data.draw(st.text(max_size=3))
    expected = sorted(place for place in places if text[slice(*place)] == span)
    assert occurrences(span, text) == expected


@pytest.mark.parametrize(
    ("span", "text", "expected"),
    [
        ("Ada", "Ada, Adam and Ada", [(0, 3), (14, 17)]),
        ("ada", "Ada", []),
        ("", "Ada", []),
        (" Ada", "x Ada", []),
        ("Durant", "#Durant!", [(1, 7)]),
        ("🎉🎉", "🎉🎉🎉", [(0, 2), (1, 3)]),
        ("שלום", "a שלום b", [(2, 6)]),
    ],
)
def test_occurrences_examples(span, text, expected):
    assert occurrences(span, text) == expected


@pytest.mark.parametrize(
    ("spans", "text", "expected"),
    [
        (["Ada", "Ada"], "Ada met Ada", [(0, 3, EXACT), (8, 11, EXACT)]),
        (["Ada", "Ada"], "Ada met Al", [(0, 3, EXACT), (0, 3, REUSED)]),
        (["Bob"], "Ada met Al", [(-1, -1, MISSING)]),
        (["Ada", "Al"], "Ada Al", [(0, 3, EXACT), (4, 6, EXACT)]),
        (["Al", "Ada"], "Ada Al", [(4, 6, EXACT), (0, 3, EXACT)]),
        (["Sage Group", "Sage"], "Sage Group and Sage", [(0, 10, EXACT), (15, 19, EXACT)]),
        (["Sage Group", "Sage"], "Sage Group", [(0, 10, EXACT), (0, 4, EXACT)]),
        ([], "Ada", []),
    ],
)
def test_align_examples(spans, text, expected):
    assert align(spans, text) == expected


@given(TEXTS, st.data())
def test_aligned_span_is_at_its_offsets(text, data):
    words = [text[start:end] for start, end in pieces(text)]
    spans = data.draw(st.lists(st.sampled_from([*words, "Zzz"]), max_size=6))
    for span, (start, end, alignment) in zip(spans, align(spans, text), strict=True):
        if alignment is MISSING:
            assert not occurrences(span, text)
        else:
            assert text[start:end] == span


@given(TEXTS)
def test_words_in_text_order_align_to_their_own_occurrences(text):
    places = [match.span() for match in re.finditer(r"\w+", text)]
    found = align([text[start:end] for start, end in places], text)
    assert found == [(start, end, EXACT) for start, end in places]


@given(
    st.lists(st.sampled_from(["a", "b", "a b", "b a b", "c"]), max_size=12), st.lists(st.sampled_from("ab"), max_size=9)
)
def test_alignment_equals_the_reference_implementation(spans, words):
    text, taken, expected = " ".join(words), [], []
    for span in spans:
        found = occurrences(span, text)
        free = [place for place in found if not any(place[0] < end and start < place[1] for start, end in taken)]
        free = free or [place for place in found if place not in taken]
        place = free[0] if free else found[-1] if found else (-1, -1)
        taken += [place] if found else []
        expected.append((*place, MISSING if not found else Alignment.EXACT if free else Alignment.REUSED))
    assert align(spans, text) == expected


def test_equal_mentions_are_aligned_in_linear_time(monkeypatch):
    searched, steps = [], []

    class Search(aligning._Search):
        def __init__(self, found):
            searched.append(len(found))
            super().__init__([Place(place) for place in found])

    class Place(tuple):
        def __iter__(self):
            steps.append(1)
            return super().__iter__()

    monkeypatch.setattr(aligning, "_Search", Search)
    assert [place[0] for place in align(["a"] * 2000, "a " * 2000)] == list(range(0, 4000, 2))
    assert searched == [2000]
    assert len(steps) < 5 * 2000


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("Obamas and Obama", 1, [(11, 16)]),
        ("Obamas and Obama", 2, [(11, 16), (0, 5)]),
        ("#TeamObama", 1, [(5, 10)]),
        ("Obama #TeamObama Obama", 3, [(0, 5), (17, 22), (11, 16)]),
    ],
)
def test_occurrences_inside_of_words_come_last(text: str, count: int, expected: list[tuple[int, int]]):
    assert [place[:2] for place in align(["Obama"] * count, text)] == expected
