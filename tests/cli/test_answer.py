"""`gmner answer`: one post, as text and as JSON."""

import json
from pathlib import Path

import pytest
from command_line import fails, run
from PIL import Image
from scripted import scripted_lm

from gmner.cli import models
from gmner.data.prediction import Prediction
from gmner.programs.gmner import GMNER

_SHOWN = {"span": "Ana Bo", "type": "PER", "visible": True, "box": [100, 200, 500, 1000]}
_HIDDEN = {"span": "Rome", "type": "LOC", "visible": False, "box": None}


def scripted(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    program = GMNER(scripted_lm(answer))
    monkeypatch.setattr(models, "load_program", lambda model, **_: program)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (200, 100)).save(tmp_path / "post.png")
    return tmp_path / "post.png"


def test_answer_prints_reasoning_and_entities(
    monkeypatch: pytest.MonkeyPatch, image: Path, capsys: pytest.CaptureFixture[str]
):
    scripted(monkeypatch, {"reasoning": "Ana is there.", "entities": [_SHOWN, _HIDDEN]})
    assert run("answer", "Ana Bo in Rome", "--image", image) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Reasoning: Ana is there.",
        "Ana Bo  PER  box 20, 20, 100, 100",
        "Rome    LOC  not shown",
    ]


def test_answer_as_json(monkeypatch: pytest.MonkeyPatch, image: Path, capsys: pytest.CaptureFixture[str]):
    scripted(monkeypatch, {"reasoning": "", "entities": [_SHOWN]})
    assert run("answer", "Ana Bo", "--image", image, "--json") == 0
    place = {"span": "Ana Bo", "start": 0, "end": 6, "type": "PER", "visible": True, "box": [20.0, 20.0, 100.0, 100.0]}
    assert json.loads(capsys.readouterr().out) == {"text": "Ana Bo", "reasoning": "", "entities": [place]}


def test_answer_prints_thinking(monkeypatch: pytest.MonkeyPatch, image: Path, capsys: pytest.CaptureFixture[str]):
    asked = {}
    program = GMNER(scripted_lm({"reasoning": "Ana.", "entities": []}))
    answered = Prediction("post", "Ana Bo", "Ana.", thinking="Who?")
    monkeypatch.setattr(program, "batch_posts", lambda posts, **_: [answered])
    monkeypatch.setattr(models, "load_program", lambda model, **options: asked.update(options) or program)
    assert run("answer", "Ana Bo", "--thinking", "--thinking-tokens", 50) == 0
    assert capsys.readouterr().out.splitlines() == ["Thinking: Who?", "Reasoning: Ana.", "No entities"]
    assert (asked["thinking"], asked["thinking_tokens"]) == (True, 50)
    asked.clear()
    assert run("answer", "Ana Bo", "--json") == 0
    assert json.loads(capsys.readouterr().out)["thinking"] == "Who?"
    assert not {"thinking", "thinking_tokens"} & set(asked)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--thinking-tokens", "50"), "--thinking-tokens requires --thinking"),
        (("--no-thinking", "--thinking-tokens", "50"), "--thinking-tokens requires --thinking"),
        (
            ("--thinking", "--thinking-tokens", "5", "--server", "http://localhost:1/v1"),
            "--thinking-tokens cannot be used with --server",
        ),
    ],
)
@pytest.mark.parametrize("command", [("answer", "Ana"), ("probe",)])
def test_switches_of_thinking_that_make_no_sense(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...], options: tuple[str, ...], said: str
):
    assert said in fails(capsys, *command, *options)


def test_the_embedded_model_cannot_think(capsys: pytest.CaptureFixture[str]):
    assert run("answer", "Ana", "--thinking") == 2
    assert "The model does not think before it answers" in capsys.readouterr().err


def test_answer_to_a_post_with_several_images(
    monkeypatch: pytest.MonkeyPatch, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    Image.new("RGB", (100, 300)).save(tmp_path / "second.png")
    entities = [{**_SHOWN, "picture": 2}, {**_HIDDEN, "picture": None}]
    scripted(monkeypatch, {"reasoning": "", "entities": entities})
    images = ("--image", image, "--image", tmp_path / "second.png")
    assert run("answer", "Ana Bo in Rome", *images) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Ana Bo  PER  box 10, 60, 50, 300 of image 2",
        "Rome    LOC  not shown",
    ]
    assert run("answer", "Ana Bo in Rome", *images, "--json") == 0
    assert [e.get("picture") for e in json.loads(capsys.readouterr().out)["entities"]] == [2, None]


def test_answer_with_the_first_image_only(
    monkeypatch: pytest.MonkeyPatch,
    image: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    scripted(monkeypatch, {"reasoning": "", "entities": [_SHOWN]})
    assert run("answer", "Ana Bo", "--image", image, "--image", image, "--limit-pictures", "1") == 0
    assert "box 20, 20, 100, 100" in capsys.readouterr().out
    assert "limit_pictures=1: the further images of 1 of 1 posts are not used" in caplog.text
    with pytest.raises(SystemExit):
        run("answer", "Ana", "--limit-pictures", "0")
    assert "an integer of at least 1" in capsys.readouterr().err


def test_answer_without_entities(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    scripted(monkeypatch, {"reasoning": "", "entities": []})
    assert run("answer", "what a day") == 0
    assert capsys.readouterr().out == "No entities\n"


def test_answer_that_failed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    scripted(monkeypatch, {"reasoning": ""})
    assert run("answer", "Ana Bo") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "not an object with the required keys" in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((" ",), "The text of the post is empty"),
        (("Ana", "--image", "none.png"), "The image does not exist (got 'none.png')"),
        (("Ana", "--image", "."), "The image is not a file (got '.')"),
        (("Ana", "--served", "x"), "--served requires --server"),
        (("Ana", "--labels", "none.json"), "none.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unusable_arguments_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
):
    monkeypatch.setattr(models, "load_program", lambda model, **_: pytest.fail("a model was loaded"))
    assert said in fails(capsys, "answer", *words)
