"""The page of `gmner app` with a scripted program and three posts, and how tests act on its editor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from chromium import BROWSER, Tab
from PIL import Image
from scripted import entity, pictures_of, scripted_lm, words_of

from gmner.app import serving, timed_answer
from gmner.app.corrections import CorrectionsFile
from gmner.app.review import Review
from gmner.app.settings import AppSettings
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.programs.choice import ProgramChoice
from gmner.programs.gmner import GMNER
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GroundedEntity

MARKS = [
    pytest.mark.e2e,
    pytest.mark.enable_socket,  # the page is served by the process of the test
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium"),
]
EVIL = "Ada <script>window.evil=1</script> met Bo <img src=x onerror=window.evil=1> \u202egnp {{e}} ${window.evil=1}"
EDITOR, REVIEW = "#gm-try-editor", "#gm-review-editor"


@dataclass
class Site:
    """A served page."""

    address: str
    folder: Path
    corrections: CorrectionsFile


def corpus() -> tuple[list[Post], dict[str, Prediction]]:
    """Three posts with their predictions; the least sure one is `b`, and its text is hostile."""
    image = Image.new("RGB", (400, 200), "teal")
    posts = [Post("a", "Ada met Bo", image), Post("b", EVIL, image), Post("c", "Bo sings 😀 in Rome", image)]
    ada, bo = GroundedEntity("Ada", 0, 3, "PER", Box(40, 20, 200, 180), confidence=0.9), EVIL.index("Bo")
    entities = {
        "a": (ada, GroundedEntity("Bo", 8, 10, "PER", confidence=0.95)),
        "b": (ada, GroundedEntity("Bo", bo, bo + 2, "LOC", confidence=0.2)),
        "c": (
            GroundedEntity("Bo", 0, 2, "PER", confidence=0.99),
            GroundedEntity("Rome", 14, 18, "LOC", confidence=0.8),
        ),
    }
    return posts, {post.id: Prediction(post.id, post.text, EVIL, entities[post.id]) for post in posts}


def settings(file: CorrectionsFile, folder: Path) -> AppSettings:
    posts, answers = corpus()
    sample = folder / "sample.png"
    Image.new("RGB", (40, 20), "red").save(sample)
    return AppSettings(
        ProgramChoice(), ProgramChoice("other"), file, Review(posts, answers, file), [Post("s", "Ada waves", sample)]
    )


@contextmanager
def served(folder: Path) -> Iterator[Site]:
    """The page, with its corrections in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timed_answer, "choose", program)
        file = CorrectionsFile(folder / "fixed.jsonl")
        with serving.running(settings(file, folder)) as address:
            yield Site(address, folder, file)


def program(choice: ProgramChoice, **_: object) -> GMNER:
    """A program that finds Ada, and Bo if it is the second one."""
    if choice.model == "broken":
        raise InputError("No such model", received=EVIL)
    second = [entity("Bo", None, "PER")] if choice.model == "other" else []

    def answer(request: object) -> dict[str, object]:
        assert "Ada" in words_of(request)  # type: ignore[arg-type]
        found = [entity("Ada", [100, 100, 500, 900]), *second]
        if len(pictures_of(request)) > 1:  # type: ignore[arg-type]
            found = [{**item, "picture": 2 if item["visible"] else None} for item in found]
        return {"reasoning": "Ada is shown.", "entities": found}

    return GMNER(scripted_lm(answer))


def text(tab: Tab, selector: str) -> str:
    return tab.ask(f"document.querySelector({json.dumps(selector)}).innerText")


def act(tab: Tab, editor: str, name: str) -> None:
    tab.click(f'{editor} [data-act="{name}"]')


def shows(tab: Tab, editor: str, id: str) -> None:
    """Wait until the editor shows the post with this id."""
    tab.wait(f"document.querySelector('{editor} .gm-ed-head b')?.innerText === {json.dumps(id)}")


def is_now(tab: Tab, editor: str, status: str) -> None:
    """Wait until the post in the editor has a status."""
    tab.wait(f"document.querySelector('{editor} [data-status]')?.innerText === {json.dumps(status)}")


def corner(tab: Tab, selector: str, x: float, y: float) -> tuple[float, float]:
    """A point of an element, as shares of its width and height."""
    return tuple(
        tab.ask(
            f"(e => (e.scrollIntoView({{block: 'center'}}), (r => [r.x + r.width * {x}, r.y + r.height * {y}])"
            f"(e.getBoundingClientRect())))(document.querySelector({json.dumps(selector)}))"
        )
    )
