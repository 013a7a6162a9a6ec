"""Pieces of texts in any script: where a span can begin and end, and how long it can be."""

import re

import pytest
import regex
from hypothesis import given
from scripts import MIXED, SAMPLES

from gmner.signatures.alignment import Alignment, align, occurrences, pieces
from gmner.signatures.schema import candidate_spans
from gmner.signatures.segmentation import is_cut_in_cluster, is_space, length_in_words, reaches, segment

NAMES = [(sample, entity) for sample in SAMPLES for entity in sample.entities]


def parts(text):
    return [text[start:end] for start, end in pieces(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TeamObama", ["Team", "Obama"]),
        ("iPhone", ["i", "Phone"]),
        ("NATOs", ["NATO", "s"]),
        ("USAToday", ["USA", "T", "oday"]),
        ("TEAMobama", ["TEA", "M", "obama"]),
        ("FENTYxPUMA", ["FENT", "Y", "x", "PUMA"]),
        ("NBAIsBack", ["NBA", "I", "s", "Back"]),
        ("𝗢𝗯𝗮𝗺𝗮𝘀 ＮＡＴＯｓ", ["𝗢𝗯𝗮𝗺𝗮", "𝘀", "ＮＡＴＯ", "ｓ"]),
        ("للسعودية", ["ل", "ل", "سعودية"]),
        ("McDonald", ["Mc", "Donald"]),
        ("Obamas", ["Obama", "s"]),
        ("ObamasHouse", ["Obama", "s", "House"]),
        ("OBAMAS", ["OBAMA", "S"]),
        ("Obama’s Obama´s", ["Obama", "’", "s", "Obama", "´", "s"]),
        ("Ross His Is ASS obamas", ["Ross", "His", "Is", "ASS", "obamas"]),
        ("COVID19", ["COVID", "19"]),
        ("@barack_obama", ["@", "barack", "_", "obama"]),
        ("NikeМосква", ["Nike", "Москва"]),
        ("Hawai\u02bbi Obama\u02bcs", ["Hawai\u02bbi", "Obama", "\u02bc", "s"]),
        ("وباريس بالقاهرة محمد", ["و", "ب", "اريس", "ب", "القاهرة", "محمد"]),
        ("ولد لك", ["و", "لد", "لك"]),
        ("ו\u05bcבתל אביב", ["ו\u05bc", "ב", "תל", "אביב"]),
        ("በአዲስ", ["በ", "አዲስ"]),
        ("문재인이", ["문", "재", "인", "이"]),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", ["\u1112\u1161\u11ab", "\u1100\u1173\u11af"]),
        ("क्षत्रिय हिन्दी", ["क्षत्रिय", "हिन्दी"]),
        ("ธนาคาร", ["ธ", "น", "า", "ค", "า", "ร"]),
        ("กำน้ำ", ["กำ", "น้ำ"]),
        ("らーめん", ["ら", "ー", "め", "ん"]),
        ("ｶﾞｽ", ["ｶﾞ", "ｽ"]),
        ("在2026年", ["在", "2026", "年"]),
        ("👩‍👩‍👧🏳️‍🌈👍🏽", ["👩‍👩‍👧", "🏳️‍🌈", "👍🏽"]),
        ("🇫🇷🇩🇪", ["🇫🇷", "🇩🇪"]),
        ("❤️1️⃣ℹ️", ["❤️", "1️⃣", "ℹ️"]),
        ("a\u3000b\u00a0c\u200bd", ["a", "b", "c", "d"]),
        (" \u0301x\r\n", ["\u0301", "x"]),
    ],
)
def test_pieces_of_scripts(text, expected):
    assert parts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "RT @ghost : what did Ayla Stone just say ? 🚀 It ' s the NBA final , isn't it…",
        "O'Neil-Smith (b. 1990) «Grüße» naïve ירושלים مرحبا Ελλάδα Обама",
        "",
        "\t\n",
    ],
)
def test_words_without_cuts_are_runs_of_word_characters(text):
    assert pieces(text) == [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


@given(MIXED)
def test_pieces_are_whole_clusters_and_cover_everything_but_spaces(text):
    bounds = {0, *(cluster.end() for cluster in regex.finditer(r"\X", text))}
    covered = bytearray(len(text))
    for start, end in pieces(text):
        assert start < end
        # A mark behind a space, which it would be drawn over, is a piece without the space.
        assert start in bounds or is_space(text[start - 1])
        assert end in bounds
        assert not any(covered[start:end])
        covered[start:end] = b"\1" * (end - start)
    assert all(covered[place] or is_space(character) for place, character in enumerate(text))


@pytest.mark.parametrize(("sample", "entity"), NAMES, ids=lambda value: getattr(value, "span", None))
def test_names_in_every_script_can_be_cut_out(sample, entity):
    assert entity.span in candidate_spans(sample.text)
    assert (entity.start, entity.end) in occurrences(entity.span, sample.text)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_names_in_text_order_are_aligned_with_their_offsets(sample):
    found = align([entity.span for entity in sample.entities], sample.text)
    assert sorted(found) == [(entity.start, entity.end, Alignment.EXACT) for entity in sample.entities]


@given(MIXED)
def test_candidate_spans_are_aligned(text):
    spans = candidate_spans(text)[:200]
    assert all(alignment is not Alignment.MISSING for _, _, alignment in (align([span], text)[0] for span in spans))


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ("Ada, Bo", 3),
        ("TeamObama2026", 1),
        ("문재인대통령", 1),
        ("全国人民代表大会常务委员会", 6.5),
        ("กรุงเทพ", 2),
        ("👩‍👩‍👧", 1),
        ("aB" * 120, float("inf")),
    ],
)
def test_length_in_words(span, words):
    assert length_in_words(span) == words


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ("w " * 20, "w " * 13 + "w"),
        ("TeamObama " * 20, "TeamObama " * 13 + "TeamObama"),
        ("東" * 40, "東" * 28),
        ("ก" * 60, "ก" * 42),
        ("한국 " * 20, "한국 " * 13 + "한국"),
        ("Ba" * 120, "Ba" * 100),
    ],
)
def test_longest_span_in_each_script(text, longest):
    assert max(candidate_spans(text), key=len) == longest
    assert reaches(segment(text))[0] == len(pieces(longest))


def test_places_inside_of_clusters():
    text = "e\u0301👩‍👧"
    assert [place for place in range(len(text) + 1) if is_cut_in_cluster(text, place)] == [1, 3, 4]


@pytest.mark.parametrize(
    ("span", "text"),
    [("e", "e\u0301"), ("👩", "👩‍👧"), ("क", "क्षत्रिय"), ("🇫", "🇫🇷"), ("bama", "Obama"), ("obama", "obamas")],
)
def test_parts_of_clusters_and_words_are_no_spans(span, text):
    assert occurrences(span, text) == []
