"""The HTML views in Chromium: mouse, keyboard, filters, and a phone."""

from pathlib import Path

import pytest
from chromium import BROWSER, Tab
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
PHONE = '<meta name="viewport" content="width=device-width">'
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


@pytest.fixture
def page(tab: Tab, tmp_path: Path) -> Tab:
    """The report, open."""
    (tmp_path / "report.html").write_text(report(), encoding="utf-8")
    tab.open(tmp_path / "report.html")
    return tab


def row(card: int, stage: int, line: int) -> str:
    return f".card:nth-of-type({card}) [data-stage='{stage}'] li:nth-of-type({line})"


def test_hover_highlights_spans_boxes_and_rows(page: Tab):
    linked = "g 0-3, span 0-3, mark 0-3, li 0-3"
    page.hover(row(1, 0, 1))
    assert page.ask(ON) == ", ".join([linked] * 3)  # in the gold annotation and both predictions
    page.hover(".card:nth-of-type(1) [data-stage='0'] mark[data-e='8-10']")
    assert page.ask(ON) == "mark 8-10, li 8-10, g 8-10, span 8-10, mark 8-10, li 8-10, mark 8-10, li 8-10"
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
    assert page.ask("document.activeElement.className") == "to"
    page.press("Tab")
    assert page.ask("document.activeElement.textContent") == "Ada"
    assert page.ask(ON).startswith("g 0-3, span 0-3, mark 0-3, li 0-3")
    for key, post in (("j", "1"), ("j", "2"), ("j", "2"), ("k", "1")):
        page.press(key)
        assert page.ask("document.activeElement.closest('.card').getAttribute('aria-label')").startswith(f"post {post}")
    page.hover(row(1, 0, 2))  # the mouse has priority again
    assert page.ask(ON).startswith("mark 8-10, li 8-10, g 8-10, span 8-10")


@pytest.mark.parametrize(
    ("chosen", "posts"),
    [
        ({}, "012"),
        ({"show": "wrong 0"}, "02"),
        ({"show": "fixed 1"}, "0"),
        ({"show": "broken 1"}, "1"),
        ({"show": "differ"}, "01"),
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


SHOWN = "[...document.querySelectorAll('.card:not([hidden])')].map(e => e.dataset.id).join(' ')"


@pytest.fixture
def many(tab: Tab, tmp_path: Path) -> Tab:
    """A page with 70 posts of one or two mentions, whose confidence falls and whose errors grow with their number."""
    pairs = []
    for n in range(70):
        gold = tuple(GoldEntity(word, 4 * k, 4 * k + 3, "PER") for k, word in enumerate(("Ada", "Bob")))
        post = Post(f"p{n:02}", "Ada Bob" + (" needle" if n == 65 else ""), None, gold)
        found = [GroundedEntity("Ada", 0, 3, "PER", confidence=1 - n / 100)]
        found += [GroundedEntity("Bob", 4, 7, "ORG" if n == 69 else "PER", confidence=0.9)] * (n != 68)
        pairs.append((post, {"model": Prediction(post.id, post.text, "", tuple(found))}))
    (tmp_path / "many.html").write_text(render_html(pairs, title="many"), encoding="utf-8")
    tab.resize(1280, 900)
    tab.open(tmp_path / "many.html")
    return tab


def test_posts_are_shown_in_pages(many: Tab):
    pages = [" ".join(f"p{n:02}" for n in numbers) for numbers in (range(30), range(30, 60), range(60, 70))]
    assert many.ask(SHOWN) == pages[0]
    assert many.ask("document.querySelector('#back').disabled && !document.querySelector('#on').disabled")
    many.click("#on")
    assert many.ask(SHOWN) == pages[1]
    assert many.ask("document.querySelector('#page').textContent") == "31 to 60 of 70"
    assert many.ask("document.activeElement.dataset.id") == "p30"
    many.press("k")  # steps to the page before
    assert many.ask("document.activeElement.dataset.id") == "p29"
    assert many.ask(SHOWN) == pages[0]
    many.press("j")
    many.click("#on")
    assert many.ask(SHOWN) == pages[2]
    assert many.ask("document.querySelector('#on').disabled")


def test_order_search_and_link(many: Tab):
    many.choose("#order", "sure")
    assert many.ask(SHOWN).startswith("p69 p68 p67")
    many.choose("#order", "wrong")
    assert many.ask(SHOWN).startswith("p68 p69 p00 p01")
    many.choose("#order", "")
    assert many.ask(SHOWN).startswith("p00 p01")
    many.press("/")
    assert many.ask("document.activeElement.id") == "find"
    search = "(t => (t.value = %r, t.dispatchEvent(new Event('input'))))(document.querySelector('#find'))"
    many.ask(search % "NEEDLE ada")
    assert many.ask(SHOWN) == "p65"
    assert many.ask("document.querySelector('.pages').hidden")
    many.ask(search % "needle nowhere")
    assert many.ask(SHOWN) == ""
    link = "document.querySelector('[data-id=p44] .to').getAttribute('href')"
    assert many.ask(link) == "#post=p44"
    many.ask("(location.hash = '#post=p44', new Promise(done => setTimeout(() => done(1), 100)))")
    assert many.ask("document.activeElement.dataset.id") == "p44"  # the search that hid it is reset
    assert many.ask("document.querySelector('#find').value") == ""
    assert "p44" in many.ask(SHOWN)


def test_link_to_a_post_opens_it(tab: Tab, tmp_path: Path):
    odd = "a/b c%&\u00e9#"
    pairs = [(Post(name, "text"), {}) for name in (*(f"p{n}" for n in range(40)), odd)]
    (tmp_path / "odd.html").write_text(render_html(pairs, title="odd"), encoding="utf-8")
    tab.open(tmp_path / "odd.html")
    href = tab.ask("[...document.querySelectorAll('.card')].at(-1).querySelector('.to').href")
    tab._call("Page.navigate", url="about:blank")
    tab._call("Page.navigate", url=href)
    found = "new Promise(done => setTimeout(() => done(document.activeElement.dataset.id), 300))"
    assert tab.ask(found) == odd


@pytest.mark.parametrize("width", [1400, 800, 390])
def test_no_answer_is_cut_off(tab: Tab, tmp_path: Path, width: int):
    (tmp_path / "three.html").write_text(report(("before", "after MRSI", "after CVO")), encoding="utf-8")
    tab.resize(width, 900)
    tab.open(tmp_path / "three.html")
    parts = "[...document.querySelectorAll('.panels, .panel, .panel *')].filter(e => !e.closest('svg, details'))"
    assert tab.ask(f"{parts}.filter(e => e.getBoundingClientRect().right > innerWidth).length") == 0
    assert tab.ask("document.documentElement.scrollWidth") <= width


def test_names_have_the_same_size_on_drawings_of_any_size(tab: Tab, tmp_path: Path):
    (tmp_path / "three.html").write_text(report(), encoding="utf-8")
    heights = []
    for width in (1400, 390):
        tab.resize(width, 900)
        tab.open(tmp_path / "three.html")
        heights.append(tab.ask("document.querySelector('.gm-name').getBoundingClientRect().height"))
    assert heights[0] == heights[1] > 10


def test_right_and_wrong_are_told_in_words(page: Tab):
    verdicts = page.ask("[...document.querySelectorAll('.verdict')].map(e => e.textContent).join(', ')")
    assert verdicts == ", ".join(
        f"{sign}" for sign in ("✗ wrong", "✓ right", "✓ right", "✗ wrong", "✗ wrong", "✗ wrong")
    )


def test_no_threshold_without_confidences(page: Tab):
    assert page.ask("document.querySelector('#sure') === null && document.querySelector('#scores') === null")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_light_and_dark_mode(page: Tab, scheme: str):
    page.prefer(scheme)
    dark = page.ask("parseInt(getComputedStyle(document.body).backgroundColor.slice(4)) < 60")
    assert dark == (scheme == "dark")
    words = ("h1", ".card h2", "nav label", "#count", ".gm-text", ".gm-rows .span", "summary",
             ".gm-name", ".gm-text mark b", ".gm-rows em", ".verdict")  # fmt: skip
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
    assert tab.ask(f"{sections}.filter(s => s.scrollWidth > s.clientWidth + 1).length") == 0


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


def test_names_on_strips_are_legible_and_cover_no_words(tab: Tab, tmp_path: Path):
    ada = GroundedEntity("Ada", 0, 3, "PER", Box(0, 0, 200, 190))
    rome = GroundedEntity("Rome", 14, 18, "LOC", Box(100, 100, 290, 290))
    views = [entity_html(TEXT, Image.new("RGB", size, "teal"), (ada, rome)) for size in ((300, 3000), (9000, 300))]
    (tmp_path / "strips.html").write_text(f"<!doctype html>{PHONE}{''.join(views)}", encoding="utf-8")
    tab.resize(390, 900)
    tab.open(tmp_path / "strips.html")
    names = "[...document.querySelectorAll('.gm-name')]"
    assert tab.ask(f"{names}.map(e => [e.textContent, e.scrollWidth > e.clientWidth])") == [
        ["Ada", False], ["Rome", False], ["Ada", False], ["Rome", False],
    ]  # fmt: skip
    words = "e.closest('section').querySelector('.gm-text').getBoundingClientRect()"
    assert tab.ask(f"{names}.every(e => e.getBoundingClientRect().bottom <= {words}.top + 1)")
    assert tab.ask("document.documentElement.scrollWidth") <= 390
    tab.resize(1280, 900)


def test_a_name_and_its_type_are_apart_in_a_right_to_left_text(tab: Tab, tmp_path: Path):
    text = "שלום Ana Levi met דוד"
    (tmp_path / "rtl.html").write_text(entity_html(text, None, [GroundedEntity("Ana Levi", 5, 13, "PER")]), "utf-8")
    tab.open(tmp_path / "rtl.html")
    gap = """(() => {
      const mark = document.querySelector('mark'), range = document.createRange();
      range.selectNodeContents(mark.firstChild);
      const words = range.getBoundingClientRect(), type = mark.querySelector('bdi').getBoundingClientRect();
      return Math.max(type.left - words.right, words.left - type.right);
    })()"""
    assert tab.ask(gap) >= 2
