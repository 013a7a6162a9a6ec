"""The HTML views in Chromium: mouse, keyboard, filters, and a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import BROWSER, Tab, chromium
from PIL import Image

from gmner.data.pages.answers_page import render_html
from gmner.data.pages.notebook import entity_html
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.evaluate import evaluate
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity, GroundedEntity

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")]

TEXT = "Ada met Bo in Rome"
EVIL = "<script>window.evil=1</script><img src=x onerror=window.evil=1>\"'></style></title>"
ON = "[...document.querySelectorAll('.on')].map(e => e.tagName.toLowerCase() + ' ' + e.dataset.e).join(', ')"


def report(names: tuple[str, ...] = ("before", "after")) -> str:
    """Three posts before and after: fixed, broken, and right both times except for a type.

    Args:
        names: The stages; those behind the second one have its answers.
    """
    ada, bo = GoldEntity("Ada", 0, 3, "PER", (Box(10, 10, 90, 90),)), GoldEntity("Bo", 8, 10, "PER", ())
    rome = GoldEntity("Rome", 14, 18, "LOC", ())
    picture = Image.new("RGB", (200, 150), "teal")
    posts = [Post(f"{n}{EVIL}", TEXT, picture, (ada, bo, rome), slice=("mixed", "mixed", "odd")[n]) for n in range(3)]
    right = (
        GroundedEntity("Ada", 0, 3, "PER", Box(10, 10, 90, 90)),
        GroundedEntity("Bo", 8, 10, "PER"),
        GroundedEntity("Rome", 14, 18, "LOC"),
    )
    boxed = (right[0], GroundedEntity("Bo", 8, 10, "PER", Box(100, 20, 180, 140)), right[2])
    typed = (*right[:2], GroundedEntity("Rome", 14, 18, "ORG"))
    after = (right, right[:2], typed)
    answers = {name: after if place else (boxed, right, typed) for place, name in enumerate(names)}
    stages = {
        name: [Prediction(post.id, TEXT, EVIL, given) for post, given in zip(posts, every, strict=True)]
        for name, every in answers.items()
    }
    scores = {name: evaluate(found, posts, progress=False) for name, found in stages.items()}
    pairs = [(post, {name: found[n] for name, found in stages.items()}) for n, post in enumerate(posts)]
    return render_html(pairs, title="A title", scores=scores)


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(tab: Tab, tmp_path: Path) -> Tab:
    """The report, open."""
    (tmp_path / "report.html").write_text(report(), encoding="utf-8")
    tab.messages.clear()
    tab.resize(1280, 900)
    tab.open(tmp_path / "report.html")
    return tab


def row(card: int, stage: int, line: int) -> str:
    return f".card:nth-of-type({card}) [data-stage='{stage}'] li:nth-of-type({line})"


def test_hover_highlights_spans_boxes_and_rows(page: Tab):
    linked = "g 0-3, mark 0-3, li 0-3"
    page.hover(row(1, 0, 1))
    assert page.ask(ON) == ", ".join([linked] * 3)  # in the gold annotation and both predictions
    page.hover(".card:nth-of-type(1) [data-stage='0'] mark[data-e='8-10']")
    assert page.ask(ON) == "mark 8-10, li 8-10, g 8-10, mark 8-10, li 8-10, mark 8-10, li 8-10"
    page.hover(".card:nth-of-type(1) .gold g[data-e='0-3'] .box")
    assert page.ask(ON) == ", ".join([linked] * 3)
    page.hover("h1")
    assert page.ask(ON) == ""


def test_click_pins_and_escape_releases(page: Tab):
    page.click(row(1, 0, 2))
    page.hover("h1")
    assert "8-10" in page.ask(ON)
    page.press("Escape")
    assert page.ask(ON) == ""


def test_keyboard_navigation(page: Tab):
    page.click("h1")
    page.press("j")
    assert page.ask("document.activeElement.getAttribute('aria-label')").startswith("post 0")
    page.press("Tab")
    assert page.ask("document.activeElement.textContent") == "Ada"
    assert page.ask(ON).startswith("g 0-3, mark 0-3, li 0-3")
    for key, post in (("j", "1"), ("j", "2"), ("j", "2"), ("k", "1")):
        page.press(key)
        assert page.ask("document.activeElement.closest('.card').getAttribute('aria-label')").startswith(f"post {post}")
    page.hover(row(1, 0, 2))  # the mouse has priority again
    assert page.ask(ON).startswith("mark 8-10, li 8-10, g 8-10")


@pytest.mark.parametrize(
    ("chosen", "posts"),
    [
        ({}, "012"),
        ({"show": "wrong 0"}, "02"),
        ({"show": "fixed"}, "0"),
        ({"show": "broken"}, "1"),
        ({"slice": "mixed"}, "01"),
        ({"fault": "boxed_absent"}, "0"),
        ({"fault": "missed"}, "1"),
        ({"fault": "missed", "show": "wrong 0"}, ""),
        ({"fault": "wrong_type"}, "2"),
        ({"type": "ORG"}, "2"),
        ({"fault": "wrong_type", "type": "LOC"}, ""),
        ({"type": "LOC"}, "012"),
    ],
)
def test_filters(page: Tab, chosen: dict[str, str], posts: str):
    for name, value in chosen.items():
        page.choose(f"#{name}", value)
    shown = page.ask("[...document.querySelectorAll('.card:not([hidden]) > h2')].map(e => e.textContent[0]).join('')")
    assert shown == posts
    assert page.ask("document.querySelector('#count').textContent") == f"{len(posts)} of 3 posts"


SCORES = "document.querySelector('#scores').textContent"


def test_confidence_threshold(tab: Tab, tmp_path: Path):
    gold = (GoldEntity("Ada", 0, 3, "PER", (Box(10, 10, 90, 90),)), GoldEntity("Bo", 8, 10, "PER"))
    posts = [Post(str(n), TEXT, Image.new("RGB", (200, 150)), gold, slice=f"s{n}") for n in range(2)]
    ada = GroundedEntity("Ada", 0, 3, "PER", Box(10, 10, 90, 90), confidence=0.9)
    bo, rome = (
        GroundedEntity(*e, confidence=c) for e, c in ((("Bo", 8, 10, "PER"), 0.3), (("Rome", 14, 18, "LOC"), 0.6))
    )
    answers = [Prediction("0", TEXT, "", (ada, bo, rome)), Prediction("1", TEXT, "", (ada,))]
    pairs = [(post, {"model": answer}) for post, answer in zip(posts, answers, strict=True)]
    (tmp_path / "sure.html").write_text(render_html(pairs, title="sure"), encoding="utf-8")
    tab.open(tmp_path / "sure.html")
    out = "[...document.querySelectorAll('.out')].map(e => e.tagName.toLowerCase() + ' ' + e.dataset.e).join(', ')"
    assert tab.ask(SCORES) == ""
    expected = evaluate(answers, posts, progress=False).gmner
    for value, left, score in (
        (30, "", f"F1 {expected.f1:.1f}, precision {expected.precision:.1f}, recall {expected.recall:.1f}"),
        (31, "mark 8-10, li 8-10", "F1 57.1, precision 66.7, recall 50.0"),
        (61, "mark 8-10, mark 14-18, li 8-10, li 14-18", "F1 66.7, precision 100.0, recall 50.0"),
        (91, None, "F1 0.0, precision -, recall 0.0"),
        (30, "", "F1 75.0, precision 75.0, recall 75.0"),
    ):
        tab.slide("#sure", value)
        assert tab.ask("document.querySelector('#from').textContent") == f"{value} %"
        assert left is None or tab.ask(out) == left
        assert tab.ask(SCORES) == f"model: {score}"
    tab.choose("#slice", "s1")
    assert tab.ask(SCORES) == "model: F1 66.7, precision 100.0, recall 50.0"


def test_no_threshold_without_confidences(page: Tab):
    assert page.ask("document.querySelector('#sure') === null && document.querySelector('#scores') === null")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_light_and_dark_mode(page: Tab, scheme: str):
    page.prefer(scheme)
    dark = page.ask("parseInt(getComputedStyle(document.body).backgroundColor.slice(4)) < 60")
    assert dark == (scheme == "dark")
    words = ("h1", ".card h2", "nav label", "#count", ".gm-text", ".gm-rows .span", "summary")
    assert page.contrast(*words) >= 4.5  # WCAG 2.1, 1.4.3
    page.prefer("light")


def test_selected_post_is_below_the_toolbar(page: Tab):
    page.resize(800, 700)  # the bar has two lines
    page.click("h1")
    page.press("j")
    page.press("j")
    assert page.ask("document.activeElement.getBoundingClientRect().top >= document.querySelector('nav').offsetHeight")


def test_scripts_in_posts_do_not_run(page: Tab):
    assert page.ask("window.evil === undefined && document.images.length === 0 && document.scripts.length === 1")
    assert page.ask("document.querySelector('details').textContent").endswith(EVIL)
    assert page.messages == []


def test_no_horizontal_scrolling_on_a_phone(page: Tab):
    page.resize(390, 800)
    assert page.ask("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [1400, 1000, 390])
def test_no_score_is_cut_off(tab: Tab, tmp_path: Path, width: int):
    (tmp_path / "three.html").write_text(report(("before", "after MRSI", "after CVO")), encoding="utf-8")
    tab.resize(width, 900)
    tab.open(tmp_path / "three.html")
    sections = "[...document.querySelectorAll('.tables section')]"
    assert tab.ask(f"{sections}.length") >= 2
    assert tab.ask(f"{sections}.filter(s => s.scrollWidth > s.clientWidth).length") == 0


def test_notebook_highlights_without_a_script(tab: Tab, tmp_path: Path):
    found = [
        GroundedEntity("Ada", 0, 3, "PER", Box(10, 10, 90, 90)),
        GroundedEntity("Bo", 8, 10, "PER", Box(100, 20, 180, 140)),
    ]
    html = entity_html(TEXT, Image.new("RGB", (200, 150), "teal"), found)
    (tmp_path / "cell.html").write_text(f"<meta charset=utf-8><h1>cell</h1>{html}", encoding="utf-8")
    tab.resize(1280, 900)
    tab.open(tmp_path / "cell.html")
    seen = (
        "new Promise(done => setTimeout(() => done([...document.querySelectorAll('g')].map(g => "
        "g.dataset.e + ' ' + getComputedStyle(g).opacity).join(', ')), 300))"
    )
    tab.hover("h1")
    assert tab.ask(seen) == "8-10 1, 0-3 1"
    tab.hover("li[data-e='0-3']")
    assert tab.ask(seen) == "8-10 0.3, 0-3 1"
    tab.click("h1")
    tab.press("Tab")
    assert tab.ask("document.activeElement.textContent") == "Ada"
    tab.press("Tab")
    assert tab.ask(seen) == "8-10 1, 0-3 0.3"
