"""The page in Chromium: answer, correct, save, reload, walk a corpus; a hostile text does nothing."""

import base64
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
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
    settings,
    shows,
    text,
)
from chromium import Tab, chromium
from PIL import Image
from scripted import scripted_lm

from gmner.app import serving
from gmner.app.corrections import CorrectionsFile
from gmner.app.settings import AppSettings
from gmner.data.jsonl import read_posts
from gmner.programs.choice import ProgramChoice
from gmner.programs.gmner import GMNER
from gmner.programs.gold_check import check_posts
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet

pytestmark = MARKS

CUT_OFF = """[...document.querySelectorAll('.gm-ed, .gm-ed *')].filter((e) => {
  const r = e.getBoundingClientRect();
  return r.width && !e.classList.contains('gm-h') && (r.right > innerWidth + 1 || r.left < -1);
}).map((e) => e.className + e.tagName)"""
SMALL = """[...document.querySelectorAll('.gm-ed button, .gm-ed select, .gm-ed summary, .gm-h, #gm-go')].filter((e) => {
  const r = e.getBoundingClientRect();
  return r.width && (r.height < 43.5 || r.width < 43.5);
}).map((e) => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("app")) as page:
        yield page


@pytest.fixture(scope="module")
def tab(site: Site) -> Iterator[Tab]:
    with chromium() as opened:
        opened.watch_requests()
        opened.resize(1400, 900)
        opened.open(site.address)
        opened.wait(f"document.querySelector('{REVIEW} .gm-w')")
        yield opened


def test_the_corpus_is_walked_with_the_least_sure_post_first(tab: Tab, site: Site):
    shows(tab, REVIEW, "b")
    assert "0 of 3 done; post 1 of 3 in this list; its least sure entity: 20%" in text(tab, "#gm-review-status")
    # The type of Bo is wrong.
    tab.choose(f'{REVIEW} [data-type="1"]', "PER")
    is_now(tab, REVIEW, "changed, not saved")
    assert tab.ask(f"document.querySelector('{REVIEW} [data-act=accept]')") is None
    tab.ask("document.activeElement.blur()")
    tab.press("n")  # refused once, because the change is not saved
    tab.wait(f"document.querySelector('{REVIEW} .gm-bad')")
    tab.press("s")
    shows(tab, REVIEW, "c")
    (saved,) = read_posts(site.folder / "fixed.jsonl")
    assert [(found.span, found.type) for found in saved.gold] == [("Ada", "PER"), ("Bo", "PER")]
    assert saved.gold[0].boxes == (Box(40, 20, 200, 180),)
    assert saved.text == EVIL


def test_words_are_marked_with_the_keyboard_behind_an_emoji(tab: Tab, site: Site):
    tab.ask(f"document.querySelector('{REVIEW} .gm-ed-text').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):
        tab.press(key)
    assert text(tab, f"{REVIEW} .gm-ed-tools bdi") == "Rome"
    tab.press("3")
    tab.wait(f"document.querySelector('{REVIEW} [data-type=\"1\"]').value === 'ORG'")
    act(tab, REVIEW, "undo")
    tab.wait(f"document.querySelector('{REVIEW} [data-type=\"1\"]').value === 'LOC'")
    assert tab.ask("document.activeElement.className") == "gm-ed-text"  # the button is disabled now
    assert tab.ask(f"document.querySelector('{REVIEW} .gm-vh').textContent") == "Undone."
    # The post is accepted with one key.
    tab.ask("document.activeElement.blur()")
    tab.press("a")
    shows(tab, REVIEW, "a")
    saved = read_posts(site.folder / "fixed.jsonl")[1]
    assert [(found.span, found.start, found.type) for found in saved.gold] == [("Bo", 0, "PER"), ("Rome", 14, "LOC")]


def test_boxes_are_dragged_drawn_and_removed(tab: Tab, site: Site):
    box = f'{REVIEW} [data-box="0-0"]'
    tab.click(f'{REVIEW} [data-entity="0"]')
    tab.drag(corner(tab, box, 0.5, 0.5), corner(tab, box, 0.6, 0.5))
    values = f"JSON.parse('[' + document.querySelector('{box}').ariaLabel.match(/: ([\\d, ]+)/)[1] + ']')"
    tab.wait(f"({values})[0] > 50 && ({values})[2] - ({values})[0] === 160")
    tab.drag(corner(tab, f"{box} [data-d=se]", 0.1, 0.1), corner(tab, f"{REVIEW} .gm-ed-pic", 1, 1))
    tab.wait(f"({values})[2] === 400 && ({values})[3] === 200")
    tab.press("ArrowLeft")
    tab.wait(f"({values})[2] === 396")
    tab.press("Delete")
    tab.wait(f"!document.querySelector('{box}')")
    tab.click(f'{REVIEW} [data-entity="1"]')
    picture = f"{REVIEW} .gm-ed-pic"
    tab.drag(corner(tab, picture, 0.25, 0.25), corner(tab, picture, 0.75, 0.5))
    tab.wait(f"document.querySelector('{REVIEW} [data-box=\"1-0\"]')")
    act(tab, REVIEW, "save")
    tab.wait("document.querySelector('#gm-review-status').innerText.includes('3 of 3 done')")
    saved = read_posts(site.folder / "fixed.jsonl")[2]
    (ada, bo) = saved.gold
    assert ada.boxes == ()
    assert bo.boxes[0].as_tuple() == pytest.approx((100, 50, 300, 100), abs=3)
    assert not check_posts(read_posts(site.folder / "fixed.jsonl")).faults


def test_progress_is_kept_and_a_correction_can_be_discarded(tab: Tab, site: Site):
    tab.open(site.address)
    tab.wait(f"document.querySelector('{REVIEW} .gm-w')")
    is_now(tab, REVIEW, "saved")
    assert "3 of 3 done" in text(tab, "#gm-review-status")
    act(tab, REVIEW, "discard")
    tab.wait("document.querySelector('#gm-review-status').innerText.includes('2 of 3 done')")
    tab.click("#gm-show label:nth-of-type(2)")  # to do
    tab.wait("document.querySelector('#gm-review-status').innerText.includes('1 of 1 in this list')")
    assert [post.id for post in read_posts(site.folder / "fixed.jsonl")] == ["c", "a"]


@pytest.mark.parametrize("by", ["key", "number"])
def test_the_filter_by_confidence_follows_the_keyboard(site: Site, by: str):
    with chromium() as tab:
        tab.open(site.address)
        shows(tab, REVIEW, "b")
        progress = "document.querySelector('#gm-review-status').innerText"
        tab.wait(f"{progress}.includes('of 3 in this list')")
        if by == "number":
            tab.ask("(e => (e.focus(), e.select()))(document.querySelector('#gm-below input[type=number]'))")
            tab.type("85")
            tab.press("Enter")
        else:
            tab.ask("document.querySelector('#gm-below input[type=range]').focus()")
            for _ in range(15):
                tab.press("ArrowLeft")
        tab.wait(f"{progress}.includes('of 2 in this list')", 20)


def test_a_finger_scrolls_over_the_image_unless_a_box_is_drawn(tab: Tab):
    picture = f"{REVIEW} .gm-ed-pic"
    tab.click(f'{REVIEW} [data-entity="1"]')
    touch = f"""(() => {{
      const image = document.querySelector('{picture}'), r = image.getBoundingClientRect();
      const at = (kind, x, y, to) => to.dispatchEvent(new PointerEvent(kind, {{pointerType: 'touch', bubbles: true,
        cancelable: true, clientX: r.x + r.width * x, clientY: r.y + r.height * y}}));
      at('pointerdown', .2, .2, image); at('pointermove', .6, .6, document); at('pointerup', .6, .6, document);
      return document.querySelectorAll('{REVIEW} .gm-b').length;
    }})()"""
    assert tab.ask(touch) == 1
    act(tab, REVIEW, "draw")
    assert tab.ask(touch) == 2
    assert tab.ask(f"document.querySelector('{REVIEW} [data-act=draw]').ariaPressed") == "false"


def test_unsaved_changes_are_kept_and_nothing_is_written_over(tab: Tab, site: Site):
    """The box that the last test drew is not saved. Another list, another window and a reload must not lose it."""
    for label, id in ((3, "c"), (2, "b")):
        tab.click(f"#gm-show label:nth-of-type({label})")  # done, to do
        shows(tab, REVIEW, id)
        kept = "The changes of b are not saved" if id == "c" else "Your unsaved changes are back"
        assert kept in tab.ask(f"document.querySelector('{REVIEW} .gm-vh').textContent")
    assert tab.ask(f"document.querySelectorAll('{REVIEW} .gm-b').length") == 2
    (post,) = (post for post in corpus()[0] if post.id == "b")
    site.corrections.save(replace(post, entities=()))
    act(tab, REVIEW, "save")
    tab.wait("document.querySelector('#gm-review-status .gm-alert')")
    assert "Problem. The post was corrected elsewhere" in text(tab, "#gm-review-status .gm-alert")
    assert site.corrections.get("b").gold == ()
    is_now(tab, REVIEW, "changed, not saved")
    boxes = f"document.querySelectorAll('{REVIEW} .gm-b').length"
    tab.click("#gm-show label:nth-of-type(1)")  # all: opens the post again, with the other correction
    tab.wait(f"document.querySelector('{REVIEW} .gm-vh').textContent.includes('this is that correction')")
    assert tab.ask(boxes) == 0
    act(tab, REVIEW, "undo")
    tab.wait(f"{boxes} === 2")
    is_now(tab, REVIEW, "changed, not saved")
    site.corrections.discard("b")
    tab.open(site.address)
    assert tab.dialogs == ["beforeunload"]
    shows(tab, REVIEW, "b")


def test_two_programs_answer_a_hostile_post(tab: Tab, site: Site):
    Image.new("RGB", (200, 100), "navy").save(site.folder / "up.png")
    tab.click("[role=tab]:nth-of-type(2)")
    tab.wait("document.querySelector('#gm-post textarea')")
    tab.upload("#gm-post input[type=file]", site.folder / "up.png")
    tab.wait("document.querySelector('#gm-post img')")
    tab.ask("document.querySelector('#gm-post textarea').focus()")
    tab.type(EVIL)
    tab.click("#gm-go")
    tab.wait(f"document.querySelector('{EDITOR} .gm-w')")
    assert "embedded model: " in text(tab, "#gm-status")
    assert "other: " in text(tab, "#gm-status")
    assert "1 token in the prompt" in text(tab, "#gm-status")
    assert len(tab.ask("[...document.querySelectorAll('#gm-answers section')].map(e => e.innerText)")) == 2
    assert text(tab, "#gm-compared") == "1 difference, marked with Δ in both answers."
    remarks = tab.ask("[...document.querySelectorAll('#gm-answers .differs')].map(e => e.innerText)")
    assert remarks == ["Δ only in the other answer", "Δ only in this answer"]
    assert "Ada is shown." in tab.ask("document.querySelector('#gm-answers details').textContent")
    assert EVIL[3:] in text(tab, f"{EDITOR} .gm-ed-text")
    assert tab.ask("typeof window.evil") == "undefined"
    assert tab.ask("document.querySelectorAll('.gm-ed script, #gm-answers script, [onerror]').length") == 0


def test_the_answer_is_corrected_saved_and_there_again(tab: Tab, site: Site):
    tab.click(f'{EDITOR} [data-act="unbox"]')
    tab.ask(f"document.querySelector('{EDITOR} .gm-ed-text').focus()")
    act(tab, EDITOR, "save")
    is_now(tab, EDITOR, "saved")
    assert "3 corrected in" in text(tab, "#gm-try-saved")
    saved = read_posts(site.folder / "fixed.jsonl", missing_images="error")[-1]
    assert (saved.text, [found.span for found in saved.gold], saved.gold[0].boxes) == (EVIL, ["Ada"], ())
    assert Image.open(saved.images[0]).getpixel((0, 0)) == (0, 0, 128)
    tab.click("#gm-go")
    tab.wait("document.querySelector('#gm-status').innerText.includes('seconds')")
    is_now(tab, EDITOR, "saved")
    assert "not shown" in text(tab, f"{EDITOR} .gm-ed-list")


def test_images_are_pasted_and_dropped(tab: Tab, site: Site):
    tab.open(site.address)
    tab.wait(f"document.querySelector('{REVIEW} .gm-w')")
    tab.click("[role=tab]:nth-of-type(2)")
    tab.wait("document.querySelector('#gm-post textarea')")
    data = base64.b64encode((site.folder / "up.png").read_bytes()).decode()
    file = f"new File([Uint8Array.from(atob('{data}'), (c) => c.charCodeAt(0))], 'new.png', {{type: 'image/png'}})"
    held = f"(() => {{ const held = new DataTransfer(); held.items.add({file}); return held; }})()"
    paste = f"new ClipboardEvent('paste', {{clipboardData: {held}, bubbles: true, cancelable: true}})"
    tab.ask(f"void document.querySelector('#gm-post textarea').dispatchEvent({paste})")
    tab.wait("document.querySelectorAll('#gm-post img').length === 1")
    drop = f"new DragEvent('drop', {{dataTransfer: {held}, bubbles: true, cancelable: true}})"
    tab.ask(f"void document.querySelector('#gm-post textarea').dispatchEvent({drop})")
    tab.wait("document.querySelectorAll('#gm-post img').length === 2")
    tab.ask("document.querySelector('#gm-post textarea').focus()")
    tab.type("Ada and Bo")
    tab.click("#gm-go")
    tab.wait(f"document.querySelectorAll('{EDITOR} .gm-ed-pic').length === 2")
    assert "image 2 of 2" in text(tab, "#gm-answers")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_or_too_small(tab: Tab, scheme: str):
    tab.prefer(scheme)
    for width in (390, 800, 1400):
        tab.resize(width, 900)
        tab.wait(f"innerWidth === {width}")
        assert tab.ask("document.documentElement.scrollWidth") <= width
        assert tab.ask(CUT_OFF) == []
        assert tab.ask(SMALL) == []
    names = (f"{EDITOR} .gm-ed-head span", f"{EDITOR} .gm-span", f"{EDITOR} small", f"{EDITOR} [data-act=save]",
             "#gm-answers .differs")  # fmt: skip
    assert tab.contrast(*names) >= 4.5


def test_errors_are_told_in_words(tab: Tab):
    tab.ask("document.querySelectorAll('.label-wrap').forEach((e) => e.classList.contains('open') || e.click())")
    tab.wait("document.querySelector('#gm-model textarea, #gm-model input')?.offsetParent")
    tab.ask("document.querySelector('#gm-model textarea, #gm-model input').focus()")
    tab.type("broken")
    tab.wait("document.querySelector('#gm-model textarea, #gm-model input').value.includes('broken')")
    tab.ask("document.querySelector('#gm-go').click()")  # which moves while the options open
    tab.wait("document.querySelector('#gm-status .gm-alert')")
    assert text(tab, "#gm-status .gm-alert").startswith("broken: Problem. No such model (got 'Ada <script>")
    assert tab.ask("typeof window.evil") == "undefined"


def test_nothing_was_loaded_from_elsewhere(tab: Tab, site: Site):
    away = [url for url in tab.requests if not url.startswith((site.address, "data:", "blob:"))]
    assert len(tab.requests) > 20
    assert away == []
    assert tab.messages == []
    policy = httpx.get(site.address).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    tab.ask("fetch('https://example.com/').catch(() => {})")
    assert "Content Security Policy" in "".join(tab.messages)


def test_only_uploaded_files_are_read(site: Site, tmp_path: Path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (5, 5)).save(secret)
    assert httpx.get(f"{site.address}gradio_api/file={secret}").status_code in (403, 404)
    config = httpx.get(f"{site.address}config").json()
    go = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "gm-go")
    call = next(call for call in config["dependencies"] if [go, "click"] in [list(to) for to in call["targets"]])
    props = {part["id"]: part["props"].get("value") for part in config["components"]}
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    post = {"text": "Ada", "files": [file]}
    kinds = {part["id"]: part["type"] for part in config["components"]}
    data = [post if kinds[id] == "multimodaltextbox" else props[id] for id in call["inputs"]]
    sent = {"data": data, "fn_index": call["id"], "session_hash": "intruder"}
    assert httpx.post(f"{site.address}gradio_api/queue/join", json=sent).status_code == 200
    with httpx.stream("GET", f"{site.address}gradio_api/queue/data?session_hash=intruder", timeout=60) as events:
        said = [json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")]
    done = next(event for event in said if event["msg"] == "process_completed")
    assert not done["success"]
    assert not any("secret" in path.name for path in site.folder.rglob("*"))


def test_large_files_are_refused(site: Site):
    big = {"files": ("big.png", b"\0" * (serving.LARGEST_UPLOAD + 1), "image/png")}
    assert httpx.post(f"{site.address}gradio_api/upload", files=big).status_code == 413


def test_the_page_listens_on_this_machine_only(site: Site, tmp_path: Path):
    assert site.address.startswith("http://127.0.0.1:")
    port = int(site.address.rsplit(":", 1)[1].strip("/"))
    with (
        pytest.raises(InputError, match="the port is in use"),
        serving.running(settings(CorrectionsFile(tmp_path / "c.jsonl"), tmp_path), port=port),
    ):
        pass
    with socket.socket() as other:
        other.settimeout(5)
        own = socket.gethostbyname(socket.gethostname())
        if not own.startswith("127."):
            assert other.connect_ex((own, port)) != 0


def test_the_table_of_types_is_not_for_bundles(tmp_path: Path):
    """A model with other types can be compared with a bundle, which has its own."""
    import gradio as gr

    from gmner.app.try_tab import TryTab

    GMNER(scripted_lm({})).save(tmp_path / "b")
    start = AppSettings(ProgramChoice("m", labels=LabelSet(("A",))), ProgramChoice(str(tmp_path / "b")))
    with gr.Blocks():
        tab = TryTab(start)
    given = {field: field.value for field in (*tab._fields.values(), tab._compare)}
    model, bundle = tab._choices(given, LabelSet(("A", "B")))
    assert (model.model, model.labels.names) == ("m", ("A", "B"))
    assert (bundle.model, bundle.labels) == (str(tmp_path / "b"), None)


def test_visitors_cannot_choose_models():
    from gmner.app.page import build_page

    fixed = build_page(AppSettings(ProgramChoice("m"), fixed=True)).get_config_file()
    ids = {part["props"].get("elem_id") for part in fixed["components"]}
    assert {"gm-go", "gm-staged", "gm-votes"} <= ids
    assert not ids & {"gm-model", "gm-server", "gm-served", "gm-second-model"}
    own = build_page(AppSettings(ProgramChoice("m"))).get_config_file()
    assert {"gm-model", "gm-server", "gm-second-model"} <= {part["props"].get("elem_id") for part in own["components"]}
    assert not own["analytics_enabled"]


@pytest.mark.parametrize(("votes", "most"), [(1, 25), (40, 40)])
def test_more_votes_than_the_page_offers_by_itself_are_kept(votes: int, most: int):
    from gmner.app.page import build_page

    config = build_page(AppSettings(ProgramChoice("m", answers=votes), ProgramChoice("n", answers=votes)))
    fields = [part["props"] for part in config.get_config_file()["components"] if part["type"] == "number"]
    found = {field["elem_id"]: (field["value"], field["maximum"]) for field in fields}
    assert found == {"gm-votes": (votes, most), "gm-second-votes": (votes, most)}
