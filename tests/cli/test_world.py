"""`gmner world`: statistics, scores by slice, posts, contact sheet, and invalid arguments."""

import json
from pathlib import Path

import pytest
from PIL import Image
from scripted import scripted_lm

from gmner.cli import models
from gmner.cli.main import main
from gmner.data.jsonl import read_posts
from gmner.data.world.generate import WORLD_VERSION, World
from gmner.data.world.plans import SLICES
from gmner.programs import world_report
from gmner.programs.gmner import GMNER
from gmner.programs.grec import GREC


def run(*words: object) -> int:
    return main(["world", *map(str, words)])


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes loading a model fail the test."""
    monkeypatch.setattr(models, "load_program", lambda model: pytest.fail("a model was loaded"))


@pytest.mark.usefixtures("no_model")
def test_statistics_are_compared_with_twitter_gmner(capsys: pytest.CaptureFixture[str]):
    assert run("--posts", 6, "--no-model") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "Twitter-GMNER" in said.out
    assert "11,779" in said.out
    assert "GMNER F1" not in said.out


@pytest.mark.usefixtures("no_model")
def test_json_has_the_split_and_seed(capsys: pytest.CaptureFixture[str]):
    assert run("--posts", 6, "--no-model", "--json", "--split", "dev", "--seed", 3) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["world"] == {"version": WORLD_VERSION, "seed": 3, "split": "dev"}
    assert record["statistics"]["mentions"] == sum(len(post.gold) for post in World(seed=3).posts("dev", 6))
    assert record["twitter_gmner"]["posts"] == 7000
    assert record["model"] is record["evaluation"] is None


@pytest.mark.usefixtures("no_model")
def test_posts_and_sheet_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder, sheet = tmp_path / "new" / "world", tmp_path / "new" / "sheet.png"
    assert run("--posts", 5, "--no-model", "-o", folder, "--sheet", sheet) == 0
    drawn, read = World().posts("test", 5), read_posts(folder)
    assert [(p.id, p.text, p.entities, p.scene, p.slice) for p in read] == [
        (p.id, p.text, p.entities, p.scene, p.slice) for p in drawn
    ]
    assert [Image.open(p.image).tobytes() for p in read] == [p.image.tobytes() for p in drawn]
    with Image.open(sheet) as image:
        assert image.format == "PNG"
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"world", "sheet.png"}
    said = capsys.readouterr().err
    assert f"Wrote 5 posts to {folder}" in said
    assert f"Wrote a contact sheet of 5 posts to {sheet}" in said


@pytest.mark.usefixtures("no_model")
def test_posts_are_written_into_an_empty_folder(tmp_path: Path):
    assert run("--posts", 1, "--no-model", "-o", tmp_path) == 0
    assert len(read_posts(tmp_path)) == 1


@pytest.mark.usefixtures("no_model")
def test_outputs_are_checked_before_posts_are_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(world_report, "draw_posts", lambda *_, **__: pytest.fail("posts were drawn"))
    (tmp_path / "notes.txt").write_text("mine")
    for words, message in (
        (("-o", tmp_path), "overwrite something else"),
        (("-o", tmp_path / "notes.txt"), "overwrite something else"),
        (("--sheet", tmp_path), "ends in .png"),
        (("--sheet", tmp_path / "sheet.jpg"), "ends in .png"),
    ):
        assert run(*words) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert message in said.err
        assert said.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("no_model")
def test_files_beside_posts_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ("--posts", 1, "--no-model", "-o", tmp_path, "--overwrite")
    assert run(*words) == run(*words) == 0
    (tmp_path / "notes.txt").write_text("mine")
    assert run(*words) == 2
    assert f"overwrite something else (got '{tmp_path / 'notes.txt'}')" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").exists()


def test_posts_are_not_written_for_an_unknown_model(tmp_path: Path):
    assert run("--posts", 1, "--model", tmp_path / "none", "-o", tmp_path / "world") == 2
    assert not (tmp_path / "world").exists()


@pytest.mark.usefixtures("no_model")
def test_failed_write_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(world_report, "write_posts", fail)
    monkeypatch.setattr(world_report, "encoded", fail)
    for words in (("-o", tmp_path / "world"), ("--sheet", tmp_path / "sheet.png")):
        assert run("--posts", 1, "--no-model", *words) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [("--split", "pretrain"), ("--posts", 0), ("--seed", "x"), ("--no-model", "--model", "m")]
)
def test_invalid_arguments_are_refused(words: tuple[object, ...], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        run(*words)
    assert stop.value.code == 2
    assert "usage: gmner world" in capsys.readouterr().err


def test_scores_by_slice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    posts = [World(slices={name: 1.0}).post("test", place) for place, name in enumerate([*reversed(SLICES), "empty"])]
    monkeypatch.setattr(world_report, "draw_posts", lambda *_, **__: posts)
    monkeypatch.setattr(models, "load_program", lambda model: GMNER(scripted_lm({"reasoning": "", "entities": []})))
    assert run() == 0
    said = capsys.readouterr().out
    head, *rows = said.partition("by slice\n\n")[2].splitlines()
    assert head.split()[:5] == ["posts", "GMNER", "F1", "MNER", "F1"]
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    assert list(cells) == [*SLICES, "all"]
    assert cells["all"] == [str(len(posts)), "0.00", "0.00", "0.00", "0.00", "-", "0", "-"]
    assert cells["shown"] == ["1", "0.00", "0.00", "0.00", "-", "-", "0", "-"]
    assert cells["empty"] == ["2", "-", "-", "-", "-", "-", "0", "-"]


@pytest.mark.parametrize("task", ["gmner", "mner", "grec"])
def test_failed_posts_are_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str):
    monkeypatch.setattr(models, "load_program", lambda model: GMNER(scripted_lm("no answer")))
    assert run("--posts", 2, "--task", task) == 0
    assert "2 posts failed: bad_answer 2" in capsys.readouterr().err


@pytest.mark.slow
def test_embedded_model_is_evaluated(capsys: pytest.CaptureFixture[str]):
    assert run("--posts", 4, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"].startswith("local/embedded")
    assert record["evaluation"]["posts"] == 4
    assert sum(part["posts"] for part in record["evaluation"]["by_slice"].values()) == 4


def test_posts_of_the_related_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for task in ("mner", "grec"):
        folder = tmp_path / task
        assert run("--posts", 4, "--no-model", "--task", task, "-o", folder, "--sheet", tmp_path / f"{task}.png") == 0
        assert {post.task for post in read_posts(folder)} == {task}
    assert "no target" in capsys.readouterr().out
    words = ("--posts", 2, "--no-model", "--pictures", 3)
    assert run(*words, "--task", "mner", "-o", tmp_path / "several", "--sheet", tmp_path / "several.png") == 0
    assert [len(post.images) for post in read_posts(tmp_path / "several")] == [3, 3]
    assert run(*words) == 2
    assert "--pictures is for --task mner" in capsys.readouterr().err
    program = GMNER(scripted_lm({"reasoning": "", "boxes": []}))
    monkeypatch.setattr(models, "load_program", lambda model: program)
    assert run("--posts", 4, "--task", "grec", "--json") == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert (scores["n_acc"], scores["t_acc"], scores["expressions"]) == (100.0, 0.0, 4)
    for kind in (GMNER, GREC):  # also the bundle of another task
        program = kind(scripted_lm({"reasoning": "", "mentions": []}))
        assert run("--posts", 4, "--task", "mner") == 0
        printed = capsys.readouterr()
        assert "f1: 0.00" in printed.out
        assert "failed" not in printed.err
