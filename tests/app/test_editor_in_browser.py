"""The editor in Chromium: selections by keyboard, a discarded correction, what a slow server meets."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import pytest
from app_page import (
    EDITOR,
    EVIL,
    MARKS,
    REVIEW,
    Site,
    act,
    corner,
    corpus,
    is_now,
    served,
    shows,
    text,
)
from chromium import Tab, chromium

from gmner.data.jsonl import read_posts
from gmner.data.post import Post

pytestmark = MARKS


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with chromium() as opened:
        opened.resize(1400, 900)
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("app")) as page:
        yield page


@pytest.fixture
def tab(browser: Tab, page: Site) -> Tab:
    """The page as it is when nothing is corrected: the posts are b, c, a."""
    for post in list(page.corrections):
        page.corrections.discard(post.id)
    browser.open(page.address)
    shows(browser, REVIEW, "b")
    browser.ask("document.activeElement.blur()")
    return browser


def selection(tab: Tab) -> str:
    return tab.ask(f"[...document.querySelectorAll('{REVIEW} .gm-sel')].map(e => e.textContent).join(' ')")


def next_post(tab: Tab, id: str) -> None:
    tab.press("n")
    shows(tab, REVIEW, id)


def spans(page: Site, id: str) -> list[tuple[str, str]]:
    post = page.corrections.get(id)
    assert post is not None
    return [(found.span, found.type) for found in post.gold]


@contextmanager
def slow(page: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While the block runs, no save is finished; afterwards, it is."""
    save, go = page.corrections.save, Event()

    def wait_and_save(*given: object, **options: object) -> str:
        assert go.wait(60)
        return save(*given, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(page.corrections, "save", wait_and_save)
        try:
            yield
        finally:
            go.set()


def test_shift_with_home_and_end_selects_to_the_ends(tab: Tab):
    next_post(tab, "c")
    tab.ask(f"document.querySelector('{REVIEW} .gm-ed-text').focus()")
    for key in ("ArrowRight", "ArrowRight"):
        tab.press(key)
    assert selection(tab) == "😀"
    tab.press("End", shift=True)
    assert selection(tab) == "😀 in Rome"
    tab.press("Home", shift=True)  # from the same word to the other end
    assert selection(tab) == "Bo sings 😀"
    tab.press("ArrowRight", shift=True)
    assert selection(tab) == "sings 😀"
    tab.press("End")
    assert selection(tab) == "Rome"
    tab.press("Home")
    assert selection(tab) == "Bo"
    tab.press("Escape")
    assert selection(tab) == ""


def test_a_discarded_correction_comes_back_with_undo(tab: Tab, page: Site):
    tab.choose(f'{REVIEW} [data-type="0"]', "ORG")
    act(tab, REVIEW, "save")
    shows(tab, REVIEW, "c")
    tab.ask("document.activeElement.blur()")
    tab.press("p")
    shows(tab, REVIEW, "b")
    before = (page.folder / "fixed.jsonl").read_bytes()
    tab.choose(f'{REVIEW} [data-type="1"]', "PER")  # a change that is not saved
    act(tab, REVIEW, "discard")
    is_now(tab, REVIEW, "not corrected yet")
    assert "b" not in page.corrections
    assert tab.ask(f"document.querySelector('{REVIEW} .gm-vh').textContent") == (
        "Discarded. Undo saves the correction again."
    )
    types = f"[...document.querySelectorAll('{REVIEW} select')].map(e => e.value).join()"
    assert tab.ask(types) == "PER,LOC"  # those of the prediction
    tab.ask("document.activeElement.blur()")
    next_post(tab, "c")  # can still be undone on the way back
    tab.press("p")
    shows(tab, REVIEW, "b")
    act(tab, REVIEW, "undo")
    tab.wait("document.querySelector('#gm-review-status').innerText.includes('1 of 3 done')")
    assert (page.folder / "fixed.jsonl").read_bytes() == before
    is_now(tab, REVIEW, "changed, not saved")  # as it was when it was discarded
    assert tab.ask(types) == "ORG,PER"
    act(tab, REVIEW, "undo")
    is_now(tab, REVIEW, "saved")
    assert tab.ask(types) == "ORG,LOC"


def test_undo_does_not_replace_a_correction_made_after_the_discarded_one(tab: Tab, page: Site):
    for act_ in ("accept", "previous"):
        act(tab, REVIEW, act_)
        shows(tab, REVIEW, "c" if act_ == "accept" else "b")
    act(tab, REVIEW, "discard")
    is_now(tab, REVIEW, "not corrected yet")
    post = Post("b", EVIL, corpus()[0][1].image, entities=())
    page.corrections.save(post)
    act(tab, REVIEW, "undo")
    tab.wait("document.querySelector('#gm-review-status .gm-alert')")
    assert "The post was corrected elsewhere" in text(tab, "#gm-review-status .gm-alert")
    assert spans(page, "b") == []


def test_a_drag_does_not_change_the_post_that_arrives_meanwhile(tab: Tab, page: Site, monkeypatch: pytest.MonkeyPatch):
    box = f'{REVIEW} [data-box="0-0"]'
    with slow(page, monkeypatch):
        tab.press("a")
        tab.drag_on(corner(tab, box, 0.5, 0.5), corner(tab, box, 0.8, 0.5))
    shows(tab, REVIEW, "c")
    tab.release(corner(tab, f"{REVIEW} .gm-ed-pic", 0.9, 0.9))
    is_now(tab, REVIEW, "not corrected yet")
    assert tab.ask(f"document.querySelectorAll('{REVIEW} .gm-b').length") == 0
    assert "The changes of b are not saved" in tab.ask(f"document.querySelector('{REVIEW} .gm-vh').textContent")
    tab.press("p")
    shows(tab, REVIEW, "b")
    is_now(tab, REVIEW, "changed, not saved")
    act(tab, REVIEW, "undo")  # the half of the drag
    is_now(tab, REVIEW, "saved")
    assert page.corrections.get("b").gold[0].boxes[0].x1 == 40


def test_a_change_made_during_a_save_is_kept(tab: Tab, page: Site, monkeypatch: pytest.MonkeyPatch):
    kind = f'{REVIEW} [data-type="1"]'
    tab.choose(kind, "PER")
    with slow(page, monkeypatch):
        act(tab, REVIEW, "save")
        tab.choose(kind, "ORG")
    shows(tab, REVIEW, "c")
    assert spans(page, "b") == [("Ada", "PER"), ("Bo", "PER")]
    tab.ask("document.activeElement.blur()")
    tab.press("p")
    shows(tab, REVIEW, "b")
    is_now(tab, REVIEW, "changed, not saved")
    assert tab.ask(f"document.querySelector('{kind}').value") == "ORG"
    act(tab, REVIEW, "save")
    shows(tab, REVIEW, "c")
    assert spans(page, "b") == [("Ada", "PER"), ("Bo", "ORG")]


def test_a_change_made_during_the_save_of_the_last_post_is_kept(tab: Tab, page: Site, monkeypatch: pytest.MonkeyPatch):
    next_post(tab, "c")
    next_post(tab, "a")
    kind = f'{REVIEW} [data-type="1"]'
    tab.choose(kind, "LOC")
    with slow(page, monkeypatch):
        act(tab, REVIEW, "save")
        tab.choose(kind, "ORG")
    tab.wait("document.querySelector('#gm-review-status').innerText.includes('last post of the list')")
    is_now(tab, REVIEW, "changed, not saved")
    assert spans(page, "a") == [("Ada", "PER"), ("Bo", "LOC")]
    assert tab.ask(f"document.querySelector('{kind}').value") == "ORG"
    act(tab, REVIEW, "undo")
    is_now(tab, REVIEW, "saved")
    assert tab.ask(f"document.querySelector('{kind}').value") == "LOC"


def test_discarding_the_correction_of_an_answer_shows_the_answer(tab: Tab, page: Site):
    tab.click("[role=tab]:nth-of-type(2)")
    tab.wait("document.querySelector('#gm-post textarea')?.offsetParent")
    tab.upload("#gm-post input[type=file]", page.folder / "sample.png")
    tab.wait("document.querySelector('#gm-post img')")
    tab.ask("document.querySelector('#gm-post textarea').focus()")
    tab.type("Ada and Bo")
    tab.click("#gm-go")
    tab.wait(f"document.querySelector('{EDITOR} .gm-w')")
    tab.choose(f'{EDITOR} [data-type="0"]', "ORG")
    act(tab, EDITOR, "save")
    is_now(tab, EDITOR, "saved")
    (saved,) = read_posts(page.folder / "fixed.jsonl")
    act(tab, EDITOR, "discard")
    is_now(tab, EDITOR, "not corrected yet")
    assert tab.ask(f"document.querySelector('{EDITOR} [data-type=\"0\"]').value") == "PER"
    act(tab, EDITOR, "undo")
    is_now(tab, EDITOR, "saved")
    assert read_posts(page.folder / "fixed.jsonl") == [saved]


def test_a_key_on_the_words_does_not_draw_the_post_anew(tab: Tab):
    """Otherwise each key takes half a second in a post of 5,000 words."""
    next_post(tab, "c")
    view = f"document.querySelector('{REVIEW} .gm-ed-text')"
    tab.ask(f"({view}.focus(), {view}.firstElementChild.kept = true, 1)")
    tab.press("ArrowRight")
    tab.press("End", shift=True)
    assert selection(tab) == "sings 😀 in Rome"
    assert tab.ask(f"{view}.firstElementChild.kept")
    assert tab.ask(f"[...{view}.querySelectorAll('[aria-selected=true]')].length") == 4
    assert tab.ask(f"document.getElementById({view}.getAttribute('aria-activedescendant')).textContent") == "Rome"
    tab.press("3")
    tab.wait(f"document.querySelectorAll('{REVIEW} .gm-ed-list > li').length === 3")
    assert not tab.ask(f"!!{view}.firstElementChild.kept")
    assert tab.ask(f"[...{view}.querySelectorAll('sup')].map(e => e.textContent).join()") == "PER,ORG,LOC"
    assert selection(tab) == ""


def test_a_long_reasoning_leaves_the_editor_in_view(tab: Tab):
    view = "document.querySelector('#gm-review-status .gm-long')"
    tab.ask(f"({view}.append(' because'.repeat(500)), 1)")
    assert tab.ask(f"{view}.getBoundingClientRect().height") < 100
    assert tab.ask(f"{view}.tabIndex") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_notes_of_the_options_are_legible(tab: Tab, scheme: str):
    tab.prefer(scheme)
    tab.click("[role=tab]:nth-of-type(2)")
    tab.wait("document.querySelector('#gm-second-votes')?.offsetParent")
    assert tab.contrast("#gm-second-votes .info-text", "#gm-second-staged .info-text", "#gm-post [data-testid]") >= 4.5
    tab.prefer("light")


def test_an_answer_is_in_view_on_a_phone_and_close_to_its_post(tab: Tab):
    tab.resize(390, 800)
    tab.click("[role=tab]:nth-of-type(2)")
    tab.wait("document.querySelector('#gm-post textarea')?.offsetParent")
    tab.ask("document.querySelector('#gm-post textarea').focus()")
    tab.type("Ada and Bo")
    tab.ask("scrollTo(0, 0)")
    tab.ask("document.querySelector('#gm-go').click()")
    tab.wait("document.querySelector('#gm-status').innerText.includes('without an image')")  # neither has an answer
    assert "The editor below shows" not in text(tab, "#gm-status")
    top = "document.querySelector('#gm-status').getBoundingClientRect().top"
    tab.wait(f"{top} >= -1 && {top} < innerHeight - 90")
    tab.resize(1400, 900)
    parts = "document.querySelectorAll('#gm-answers, #gm-try-editor, #gm-examples')"
    assert tab.ask(f"[...{parts}].map(e => e.id)") == ["gm-answers", "gm-try-editor", "gm-examples"]
