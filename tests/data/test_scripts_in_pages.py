"""Pages with posts in many scripts: highlighting, right-to-left texts, and shortened names."""

from dataclasses import replace

import pytest
from pages import Page, drawn
from scripts import SAMPLES

from gmner.data.pages.answers_page import render_html
from gmner.data.pages.markup import segments
from gmner.data.pages.notebook import posts_html
from gmner.data.pages.scripts import isolated, short_name
from gmner.data.prediction import Prediction
from gmner.data.scoring.evaluate import evaluate
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GroundedEntity


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_names_are_highlighted_and_scored(sample):
    parts = segments(sample.text, sample.entities)
    assert "".join(part.text for part in parts) == sample.text
    assert [part.text for part in parts if part.type] == [entity.span for entity in sample.entities]
    found = [GroundedEntity(e.span, e.start, e.end, e.type) for e in sample.entities]
    scores = evaluate([Prediction(sample.id, sample.text, "", tuple(found))], [sample.post()], progress=False)
    assert scores.gmner.f1 == 100


def hebrew():
    sample = next(sample for sample in SAMPLES if sample.id == "hebrew")
    boxed = tuple(replace(entity, boxes=(Box(1, 2, 30, 40),)) for entity in sample.entities)
    return replace(sample.post(drawn()), id="פוסט 1", entities=boxed)


def test_right_to_left_texts_are_isolated():
    post = hebrew()
    short = GroundedEntity("גל", 0, 2, "PER", Box(1, 2, 30, 40))
    html = render_html([(post, {"שלב": Prediction(post.id, post.text, post.text, (short,))})], title="דוח")
    page = Page(html)
    assert page.count("p", dir="auto") == 2
    assert page.count("button", dir="auto") == 2 * len(post.gold)  # the wrong one, and all but one were missed
    for place in ("<bdi>פוסט 1</bdi>", "<bdi>שלב</bdi>", "<bdi>PER</bdi>", '<h1 dir="auto">דוח</h1>'):
        assert place in html
    assert "<title>\u2068גל גדות\u2069 (PER)</title>" in html
    assert "wrong span: \u2068גל גדות\u2069" in html
    assert "<bdi>פוסט 1</bdi>" in posts_html([post])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Ada", "Ada"), ("東京", "東京"), ("שלום", "\u2068שלום\u2069"), ("a\u202eb", "\u2068a\u202eb\u2069")],
)
def test_isolation(text, expected):
    assert isolated(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 24, "a" * 24),
        ("a" * 25, "a" * 23 + "…"),
        ("東" * 12, "東" * 12),
        ("東" * 13, "東" * 11 + "…"),
        ("क्षि" * 25, "क्षि" * 23 + "…"),
        ("👩‍👩‍👧" * 13, "👩‍👩‍👧" * 11 + "…"),
    ],
)
def test_names_in_drawings_are_shortened_by_width(text, expected):
    assert short_name(text) == expected
