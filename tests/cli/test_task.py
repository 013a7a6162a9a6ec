"""`--task`: names alone, and referring expressions, from the command line."""

import json
from pathlib import Path

import pytest
from command_line import fails, run
from PIL import Image
from scripted import scripted_lm, words_of

import gmner
from gmner.data.prediction import Prediction
from gmner.programs import bundle, choice
from gmner.programs.gmner import GMNER
from gmner.programs.mner import MNER
from gmner.signatures.errors import AnswerError

NAMES = {"reasoning": "", "mentions": [{"span": "Ana", "type": "PER"}]}
BOXES = {"reasoning": "Two.", "boxes": [[100, 200, 500, 1000], [0, 0, 100, 100]]}


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model and every bundle is this one."""
    lm = scripted_lm(lambda request: BOXES if "Expression" in words_of(request) else NAMES)
    monkeypatch.setattr(choice.loading, "load_vlm", lambda *_, **__: lm)
    monkeypatch.setattr(bundle, "is_bundle", lambda model: model == "compiled")
    monkeypatch.setattr(bundle, "load", lambda *_, **__: GMNER(lm))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (200, 100)).save(tmp_path / "5.jpg")
    return tmp_path / "5.jpg"


@pytest.mark.parametrize("name", ["some", "compiled"])
def test_answers(image: Path, name: str, capsys: pytest.CaptureFixture[str]):
    assert run("answer", "Ana in Rome", "--image", image, "--task", "mner", "--model", name) == 0
    assert capsys.readouterr().out == "Ana  PER\n"
    assert run("answer", "the dogs", "--image", image, "--task", "grec", "--model", name) == 0
    assert capsys.readouterr().out.splitlines()[1] == "the dogs  EXPRESSION  box 20, 20, 100, 100; 0, 0, 20, 10"


def test_expressions_are_grounded_and_scored(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sentence = {"sent_id": 3, "sent": "the dogs"}
    ref = {"ref_id": 1, "ann_id": [7, 8], "image_id": 5, "split": "val", "no_target": False, "sentences": [sentence]}
    annotations = [{"id": 7, "image_id": 5, "bbox": [20, 20, 80, 80]}, {"id": 8, "image_id": 5, "bbox": [0, 0, 20, 10]}]
    coco = {"annotations": annotations, "images": [{"id": 5, "file_name": "5.jpg", "width": 200, "height": 100}]}
    (tmp_path / "refs.json").write_text(json.dumps([{**ref, "file_name": "5_1.jpg"}]))
    (tmp_path / "instances.json").write_text(json.dumps(coco))
    data = ("--format", "grec", "--instances", tmp_path / "instances.json", "--split", "val", "--images", tmp_path)
    out = tmp_path / "out.jsonl"
    assert run("extract", tmp_path / "refs.json", *data, "--model", "some", "-o", out) == 0
    assert len(json.loads(out.read_text())["entities"][0]["more_boxes"]) == 1
    capsys.readouterr()
    assert run("evaluate", out, "--gold", tmp_path / "refs.json", *data, "--json") == 0
    assert json.loads(capsys.readouterr().out)["precision"] == 100
    for option in ("--against", "--made-on"):
        message = fails(capsys, "evaluate", out, "--gold", tmp_path / "refs.json", *data, option, out)
        assert f"{option} cannot be used with referring expressions" in message
    assert run("view", out, "--gold", tmp_path / "refs.json", *data, "-o", tmp_path / "page.html") == 0
    # The same expressions as JSONL, and an answer that failed.
    posts = gmner.read_grec(tmp_path / "refs.json", tmp_path / "instances.json", "val", tmp_path)
    gmner.write_posts(posts, tmp_path / "posts.jsonl")
    same = tmp_path / "same.jsonl"
    assert run("extract", tmp_path / "posts.jsonl", "--model", "some", "-o", same) == 0
    assert same.read_text() == out.read_text()
    failed = Prediction.failed(posts[0].id, posts[0].text, AnswerError("No answer"))
    gmner.write_predictions([failed, Prediction("other", "the cat")], out)
    capsys.readouterr()
    assert run("evaluate", out, "--gold", tmp_path / "posts.jsonl", "--images", tmp_path) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("precision 0.00\nn_acc -\n")
    assert "Predictions for unknown posts, ignored (1): other" in printed.err
    assert f"Posts that failed, scored as wrong (1): {posts[0].id}" in printed.err


def test_the_task_of_a_bundle(image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    whole = {"reasoning": "", "entities": []}
    lm = scripted_lm(lambda request: whole if "say whether the picture shows" in request.system else NAMES)
    monkeypatch.setattr(bundle, "load", lambda *_, **__: MNER(lm))
    assert run("answer", "Ana in Rome", "--image", image, "--model", "compiled") == 0
    assert capsys.readouterr().out == "Ana  PER\n"
    assert run("answer", "Ana in Rome", "--image", image, "--model", "compiled", "--task", "gmner") == 0
    assert capsys.readouterr().out == "No entities\n"


def test_confidence_is_refused_for_expressions(capsys: pytest.CaptureFixture[str]):
    for words in (("--confidence",), ("--answers", "3")):
        message = fails(capsys, "answer", "the dogs", "--task", "grec", "--model", "some", *words)
        assert f"{words[0]} cannot be used for referring expressions" in message


def test_staged_is_refused_for_other_tasks(capsys: pytest.CaptureFixture[str]):
    message = fails(capsys, "answer", "Ana", "--task", "mner", "--staged", "--model", "some")
    assert "--staged is a program for GMNER (got 'mner'). Remove --staged." in message
