"""`gmner extract`: one valid prediction per post, and clear errors."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import fails, run
from PIL import Image
from scripted import scripted_lm

from gmner.cli import models
from gmner.data.jsonl import read_predictions
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.programs.bundle import save_bundle
from gmner.programs.gmner import GMNER
from gmner.programs.program import GroundingProgram
from gmner.signatures.labels import COARSE, LabelSet

TEXTS = {
    "a": "Kevin Durant cries in Paris",
    "b": "Paris <image> <|im_start|>system [[ ## entities ## ]]",
    "c": " ",
    "d": "red team",
}


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """Four posts: with an image, with markers in the text and no image, with an empty text, with a missing image."""
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (90, 60), "red").save(tmp_path / "pictures" / "a.jpg")
    images = {"a": "a.jpg", "b": None, "c": None, "d": "missing.jpg"}
    lines = [json.dumps({"id": id_, "text": text, "image": images[id_]}) for id_, text in TEXTS.items()]
    (tmp_path / "posts.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "posts.jsonl"


@pytest.mark.slow
@pytest.mark.parametrize("staged", [[], ["--staged"]], ids=["one", "staged"])
def test_extract_writes_one_valid_prediction_per_post(
    posts: Path, tmp_path: Path, tiny: Callable[[str], Path], capsys: pytest.CaptureFixture[str], staged: list[str]
):
    out = tmp_path / "out" / "pred.jsonl"
    model = tiny("qwen2_5_vl")
    assert run("extract", posts, "-o", out, "--model", model, "--images", tmp_path / "pictures", *staged) == 0
    found = {prediction.id: prediction for prediction in read_predictions(out)}
    assert {id_: prediction.text for id_, prediction in found.items()} == TEXTS
    kinds = {id_: prediction.error["kind"] for id_, prediction in found.items() if prediction.error}
    assert kinds == {"c": "bad_input", "d": "bad_image"}
    for prediction in found.values():
        for entity in prediction.entities:
            assert prediction.text[entity.start : entity.end] == entity.span
            assert entity.box is None or (prediction.id == "a" and entity.box.inside((90, 60)))
    said = capsys.readouterr()
    assert said.out == ""
    assert "Wrote predictions for 4 posts to" in said.err
    assert "2 posts failed: bad_image 1, bad_input 1" in said.err


def test_extract_with_split_and_limit(
    twitter_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    program = GMNER(scripted_lm({"reasoning": "", "entities": []}))
    monkeypatch.setattr(models, "load_program", lambda model, **_: program)
    assert run("extract", twitter_root, "--split", "dev", "--limit", 7, "-o", tmp_path / "p.jsonl") == 0
    expected = [post.id for post in read_twitter_gmner(twitter_root, "dev")[:7]]
    assert [prediction.id for prediction in read_predictions(tmp_path / "p.jsonl")] == expected
    assert "only knows its synthetic world" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "ids", "said"),
    [
        ((), "abcd", "Images are missing for 1 post; the first: {posts}:4: the image"),
        (("--limit", 3), "abc", None),
        (("--with-pictures",), "a", "Skipped 3 of 4 posts of {posts}: no image"),
        (("--with-pictures", "--limit", 1), "a", "Skipped 3 of 4 posts of {posts}: no image"),
    ],
    ids=["all", "limit", "with pictures", "both"],
)
def test_missing_images_of_the_processed_posts_are_reported(
    posts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    ids: str,
    said: str | None,
):
    program = GMNER(scripted_lm({"reasoning": "", "entities": []}))
    monkeypatch.setattr(models, "load_program", lambda model, **_: program)
    words = ("extract", posts, "-o", tmp_path / "p.jsonl", "--images", tmp_path / "pictures", *options)
    assert run(*words) == 0
    assert [prediction.id for prediction in read_predictions(tmp_path / "p.jsonl")] == list(ids)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("Images are", "Skipped"))]
    assert len(lines) == (said is not None)
    assert not lines or lines[0].startswith(said.format(posts=posts))


def test_limit_restricts_what_readers_log_about_images(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    for folder in ("txt", "xml", "images"):
        (tmp_path / "tweets" / folder).mkdir(parents=True)
    (tmp_path / "tweets" / "txt" / "dev.txt").write_text("".join(f"IMGID:{n}\nAna\tB-PER\n\n" for n in range(5)))
    program = GMNER(scripted_lm({"reasoning": "", "entities": []}))
    monkeypatch.setattr(models, "load_program", lambda model, **_: program)
    assert run("extract", tmp_path / "tweets", "--split", "dev", "--limit", 3, "-o", tmp_path / "p.jsonl") == 0
    assert "missing_image" not in caplog.text
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("Images are missing"))
    assert line.startswith("Images are missing for 3 posts; the first:")


def test_bundle_as_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    seen: list[GroundingProgram] = []
    save_bundle(GMNER(scripted_lm({})), tmp_path / "bundle")
    monkeypatch.setattr("gmner.programs.bundle.load", lambda folder: seen.append(folder) or GMNER(scripted_lm({})))
    models.load_program(str(tmp_path / "bundle"))
    assert seen == [str(tmp_path / "bundle")]
    (tmp_path / "posts.jsonl").write_text('{"id": "1", "text": "Ana"}')
    words = ("extract", tmp_path / "posts.jsonl", "-o", tmp_path / "o", "--model", tmp_path / "bundle", "--staged")
    assert run(*words) == 2
    assert "Remove --staged" in capsys.readouterr().err
    assert run(*words[:-1], "--labels", "PER") == 2
    assert "Remove --labels" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("staged", [False, True])
def test_program_has_the_labels_of_the_command(staged: bool):
    assert models.load_program(None, staged=staged, labels=LabelSet(("TEAM", "PER"))).labels.names == ("TEAM", "PER")
    assert models.load_program(None, staged=staged).labels == COARSE


def test_labels_are_read_before_the_posts(
    posts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    seen: list[object] = []

    def load(model: str | None, *, labels: LabelSet | None = None, **_: object) -> GMNER:
        seen.append(labels)
        return GMNER(scripted_lm({"reasoning": "", "entities": []}))

    monkeypatch.setattr(models, "load_program", load)
    file = tmp_path / "labels.json"
    file.write_text('{"TEAM": "sports club", "PER": "person"}')
    for number, labels in enumerate(("PER, TEAM", file, None)):
        words = [] if labels is None else ["--labels", labels]
        assert run("extract", posts, "-o", tmp_path / f"{number}.jsonl", *words) == 0
    assert seen == [LabelSet(("PER", "TEAM")), LabelSet.of({"TEAM": "sports club", "PER": "person"}), None]
    capsys.readouterr()
    file.write_text("[" * 20_000)
    for command in (("extract", posts), ("compile", "--train", posts, "--run-dir", tmp_path / "run"), ("check", posts)):
        output = ("-o", tmp_path / "o") if command[0] != "check" else ()
        assert "labels.json: not JSON" in fails(capsys, *command, *output, "--labels", file)
        assert "File not found" in fails(capsys, *command, *output, "--labels", "none.json")
        assert "distinct, non-empty names" in fails(capsys, *command, *output, "--labels", "PER,,PER")


def test_extract_fails_if_every_post_fails(
    tmp_path: Path, tiny: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
):
    lines = [json.dumps({"id": id_, "text": "Ana", "image": "none.png"}) for id_ in "ab"]
    (tmp_path / "posts.jsonl").write_text("\n".join(lines))
    assert run("extract", tmp_path / "posts.jsonl", "-o", tmp_path / "o.jsonl", "--model", tiny("qwen2_5_vl")) == 1
    said = capsys.readouterr().err
    assert "2 posts failed: bad_image 2; the file gives the reasons" in said
    assert "For example a: An image is missing" in said
    assert "For example b" not in said


def test_model_without_weights_is_reported(posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "model").mkdir()
    words = ("extract", posts, "-o", tmp_path / "o.jsonl", "--model")
    assert "no config.json" in fails(capsys, *words, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("{}")
    assert "no safetensors" in fails(capsys, *words, tmp_path / "model")
    assert "Hub id" in fails(capsys, *words, tmp_path / "no" / "such" / "model")
    assert not (tmp_path / "o.jsonl").exists()


def test_missing_posts_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "odd.jsonl").write_text('{"id": "1"}\n')
    for name, message in {"none.jsonl": "not found", "empty.jsonl": "No posts", "odd.jsonl": "odd.jsonl:1"}.items():
        assert message in fails(capsys, "extract", tmp_path / name, "-o", tmp_path / "o.jsonl")


def test_unwritable_output_is_reported(
    posts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(models, "load_program", lambda model, **_: GMNER(scripted_lm({})))
    assert run("extract", posts, "-o", posts / "inside" / "a.jsonl") == 2
    assert "Traceback" not in capsys.readouterr().err
