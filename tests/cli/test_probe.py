"""`gmner probe`: report, exit status and the stored profile."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import fails, run
from openai_server import completion, serving
from probed import ShapeModel, replying, speaking, use_small_images
from scripted import scripted_lm

from gmner.programs.models import loading
from gmner.programs.models.families import ModelProfile, as_profile
from gmner.programs.models.probe.conventions import Convention
from gmner.signatures.boxes import BoxFormat

HUNDRED = Convention(BoxFormat("normalized", 100))
PLAIN = ModelProfile()


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch):
    use_small_images(monkeypatch)


def scripted(monkeypatch: pytest.MonkeyPatch, model: Any, profile: ModelProfile | None = PLAIN) -> None:
    lm = scripted_lm(model, profile or PLAIN)
    monkeypatch.setattr(loading, "load_for_probe", lambda *_, **__: (lm, profile))


def shapes() -> ShapeModel:
    return ShapeModel(speaking(HUNDRED), noise=0.01)


def test_contradicted_profile(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    scripted(monkeypatch, shapes())
    (tmp_path / "model").mkdir()
    assert run("probe", tmp_path / "model", "--write") == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[1].startswith("boxes: 0..100 xyxy (mean IoU 0.")
    assert said.out.splitlines()[2] == "profile: 0..1000 xyxy, CONTRADICTED"
    assert str(tmp_path / "model" / "gmner.json") in said.err
    assert as_profile(tmp_path / "model").box_format == HUNDRED.box_format
    assert "already exists" in fails(capsys, "probe", tmp_path / "model", "--write")
    assert run("probe", tmp_path / "model", "--write", "--overwrite", "--json") == 1
    assert json.loads(capsys.readouterr().out)["state"] == "contradicted"


def test_profile_that_agrees_is_stored_where_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    scripted(monkeypatch, shapes(), ModelProfile(HUNDRED.box_format, terse=True))
    assert run("probe", "-o", tmp_path / "own.json") == 0
    assert as_profile(tmp_path / "own.json") == ModelProfile(HUNDRED.box_format, terse=True)


def test_no_profile_in_force(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    scripted(monkeypatch, shapes(), None)
    monkeypatch.chdir(tmp_path)
    assert run("probe", "house/model-7b", "--write") == 0
    assert "profile: none in force" in capsys.readouterr().out
    assert as_profile("house--model-7b.gmner.json").box_format == HUNDRED.box_format


def test_what_cannot_be_told_is_not_stored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    scripted(monkeypatch, ShapeModel(lambda size, box: None))
    assert run("probe", "-o", tmp_path / "own.json") == 3
    assert "was not written" in capsys.readouterr().err
    assert not (tmp_path / "own.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--served", "x"), "--served requires --server"),
        (("m", "--server", "http://localhost:1/v1"), "MODEL cannot be used with --server"),
        (("--write",), "--write cannot store a profile for the embedded model"),
        (("--posts", "none.jsonl"), "none.jsonl"),
    ],
)
def test_unusable_arguments_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
):
    scripted(monkeypatch, lambda request: pytest.fail("asked"))
    assert said in fails(capsys, "probe", *words)


@pytest.mark.slow  # imports litellm
@pytest.mark.usefixtures("socket_enabled")
def test_model_on_a_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.chdir(tmp_path)
    with serving(replying(shapes()), {"org/house": "org/house"}, free_text=True) as (base, _):
        assert run("probe", "--server", base, "--write") == 0
        assert "profile: none in force" in capsys.readouterr().out
        assert as_profile("org--house.gmner.json").box_format == HUNDRED.box_format
        Path("wrong.json").write_text('{"box_format": {"frame": "original"}}')
        assert run("probe", "--server", base, "--profile", "wrong.json") == 1


@pytest.mark.usefixtures("socket_enabled")
def test_server_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    refuse = lambda _: (400, {}, completion("no", "m"))  # noqa: E731
    with serving(refuse, {"m": "m"}, free_text=True) as (base, _):
        assert run("probe", "--server", base) == 1
    assert "The model failed on every question" in capsys.readouterr().err
