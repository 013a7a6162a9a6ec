"""Predictions as triples: accepted, dropped and refused lines."""

import html
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmner.data.post import Post
from gmner.data.readers import escapes
from gmner.data.readers.escapes import EscapedText
from gmner.data.readers.triples import UNREADABLE, parse_triples, read_triples
from gmner.data.scoring.evaluate import evaluate
from gmner.signatures.alignment import Alignment, occurrences, pieces
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GoldEntity

ADA = GoldEntity("Ada", 0, 3, "PER", (Box(1, 2, 30, 40),))
POSTS = [Post("7", "Ada met Ada", None, (ADA, GoldEntity("Ada", 8, 11, "PER"))), Post("8", "nothing here", None, ())]
LINES = "Ada|PER|[1,2,30,40]; Ada|PER|None\nNone\n"


def read(tmp_path, text, posts=POSTS):
    path = tmp_path / "answers.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_triples(path, posts)


@pytest.mark.parametrize(
    ("text", "triples"),
    [
        ("None", []),
        ("", []),
        ("Ada|PER|None", [("Ada", "PER", ())]),
        ("Ada | PER | [1, 2, 3.5, 4]", [("Ada", "PER", (Box(1, 2, 3.5, 4),))]),
        ("Ada|PER|[[1,2,3,4],[5,6,7,8]]", [("Ada", "PER", (Box(1, 2, 3, 4), Box(5, 6, 7, 8)))]),
        ("A|B|PER|N/A\nOslo\uff5cLOC\uff5cnone\uff1b", [("A | B", "PER", ()), ("Oslo", "LOC", ())]),
        ("<think>x|y|None</think><answer>Ada|PER|None</answer>", [("Ada", "PER", ())]),
        ("Ada|PER|[1,2,3,4", [("Ada", "PER", (Box(1, 2, 3, 4),))]),
        ("Ada|PER|[1,2,3]", [("Ada", "PER", (UNREADABLE,))]),
        ("Ada|PER|somewhere", [("Ada", "PER", (UNREADABLE,))]),
        ("Ada|PER|[9,2,3,4]", [("Ada", "PER", (UNREADABLE,))]),
    ],
)  # fmt: skip
def test_valid_triples(text, triples):
    assert parse_triples(text) == (triples, [])


def test_invalid_triples_are_reported():
    assert parse_triples("Ada|PER; Al|PER|None;;  None; x") == ([("Al", "PER", ())], ["Ada|PER", "x"])


@pytest.mark.parametrize("text", [LINES, LINES.rstrip("\n"), LINES.replace("\n", "\r\n"), "\ufeff" + LINES])
def test_one_line_per_post(tmp_path, text):
    first, second = read(tmp_path, text)
    assert [(e.span, e.start, e.end, e.type, e.box) for e in first.entities] == [
        ("Ada", 0, 3, "PER", Box(1, 2, 30, 40)),
        ("Ada", 8, 11, "PER", None),
    ]
    assert (second.id, second.text, second.entities) == ("8", "nothing here", ())
    assert evaluate([first, second], POSTS).gmner.f1 == 100


def test_blank_line_is_an_empty_prediction(tmp_path):
    first, second = read(tmp_path, "\nx|PER|None\n")
    assert (first.entities, len(second.entities)) == ((), 1)


def test_lines_with_ids_in_any_order(tmp_path):
    assert [p.id for p in read(tmp_path, "8\tNone\n7\tAda|PER|None\n")] == ["8", "7"]
    assert [p.id for p in read(tmp_path, "8\tNone")] == ["8"]


def test_dump_of_the_original_system(tmp_path):
    rows = [{"response_answer_orig": line, "orig_size": [50, 50]} for line in LINES.splitlines()]
    found = read(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate(found, POSTS).gmner.f1 == 100


def test_several_boxes_are_kept(tmp_path):
    (found,) = read(tmp_path, "Ada|PER|[[1,2,3,4],[1,2,30,40]]", POSTS[:1])
    assert (found.entities[0].box, found.entities[0].more_boxes) == (Box(1, 2, 3, 4), (Box(1, 2, 30, 40),))


def test_unescaped_spans_are_aligned_with_the_escaped_text(tmp_path):
    text = "AT &amp T and Q&amp;A and AT &amp T"
    (found,) = read(tmp_path, "AT & T|ORG|None; Q&A|OTHER|None; AT & T|ORG|None; B&B|ORG|None", [Post("1", text)])
    assert [(e.span, e.start, e.alignment) for e in found.entities] == [
        ("AT &amp T", 0, Alignment.EXACT),
        ("Q&amp;A", 14, Alignment.EXACT),
        ("AT &amp T", 26, Alignment.EXACT),
        ("B&B", -1, Alignment.MISSING),
    ]
    assert all(text[e.start : e.end] == e.span for e in found.entities[:3])


def test_dropped_part_is_logged_with_its_line(tmp_path, caplog):
    read(tmp_path, "None\nAda|PER\n")
    assert "answers.txt:2: 'Ada|PER' is not a triple" in caplog.text


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("None\n", "answers.txt has 1 lines for 2 posts"),
        ("7\tNone\n9\tNone\n", "answers.txt:2: the id is unknown or occurs twice"),
        ("7\tNone\n7\tNone\n", "answers.txt:2: the id is unknown or occurs twice"),
        ("5.jpg\tAda|PER|None\n6.jpg\tNone\n", "answers.txt:1: the id is unknown or occurs twice"),
        ('{"a": 1}\n{"a": 2}\n', "answers.txt:1: no triples"),
        ('{"response_answer_orig": "None"}\n{', "answers.txt:2: not JSON"),
        (b"\xff\xfe", "answers.txt: not UTF-8"),
    ],
)
def test_refusals(tmp_path, text, fact):
    with pytest.raises(DataError, match=fact):
        read(tmp_path, text)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="File not found"):
        read_triples(tmp_path / "none.txt", POSTS)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("triples") / "answers.txt"
    path.write_bytes(data)
    try:
        found = read_triples(path, POSTS[:1])
    except DataError as refused:
        error = refused
    else:
        error = None
        assert [p.id for p in found] == ["7"]
    assert error is None or str(path) in error.fact


PARTS = (
    "&amp;",
    "&amp",
    "&",
    "&notin;",
    "&notit;",
    "&#1;",
    "&#233;",
    "&#x41",
    "a",
    "b",
    " ",
    ";",
    "amp",
    "é",
    "<",
    "#",
)


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map("".join), st.data())
def test_escaped_spans_equal_exhaustive_search(text, data):
    cuts = pieces(text)
    runs = [(start, end) for i, (start, _) in enumerate(cuts) for _, end in reversed(cuts[i:])]
    words = [html.unescape(text[start:end]) for start, end in runs]
    span = data.draw(st.sampled_from([*words, "a&b"]) if words else st.just("a&b"))
    if span and not occurrences(span, text):
        expected = [run for run, found in zip(runs, words, strict=True) if found == span]
        assert list(EscapedText(text).places(span)) == expected


def test_unescaping_is_linear_in_the_text(tmp_path, monkeypatch):
    unescaped = []
    monkeypatch.setattr(
        escapes.html, "unescape", lambda part, real=html.unescape: (unescaped.append(part), real(part))[1]
    )
    text = "word &amp; more " * 300
    spans = [f"word & less {n}" for n in range(300)] + ["word & more"] * 300
    (found,) = read(tmp_path, "; ".join(f"{span}|PER|None" for span in spans), [Post("1", text)])
    assert [e.start for e in found.entities] == [-1] * 300 + list(range(0, len(text), 16))
    assert sum(map(len, unescaped)) < 20 * 300
