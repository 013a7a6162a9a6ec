"""What commands may write over: no input, nobody's file without --overwrite; `-` is standard input and output."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from scripted import scripted_lm

from gmner.data.jsonl import write_predictions
from gmner.data.prediction import Prediction
from gmner.programs import cli, commands
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.mentions import GroundedEntity

ANA = {"span": "Ana", "start": 0, "end": 3, "type": "PER", "boxes": []}


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands answer with a scripted program."""
    lm = scripted_lm({"reasoning": "", "entities": []})

    def load(model: str | None, staged: bool = False) -> GMNER | StagedGMNER:
        return (StagedGMNER if staged else GMNER)(lm)

    monkeypatch.setattr(commands, "load_program", load)


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(json.dumps({"id": name, "text": "Ana", "entities": [ANA]}) + "\n" for name in "abc"))
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    ana = GroundedEntity("Ana", 0, 3, "PER")
    write_predictions([Prediction(name, "Ana", "", (ana,)) for name in "abc"], tmp_path / "answers.jsonl")
    return tmp_path / "answers.jsonl"


def refused(capsys: pytest.CaptureFixture[str], kept: Path, *words: object, said: str = "replace an input") -> None:
    before = kept.read_bytes()
    assert run(*words) == 2
    assert said in capsys.readouterr().err
    assert kept.read_bytes() == before


@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["plain", "overwrite"])
def test_no_command_writes_over_an_input(
    gold: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
):
    link, hard = tmp_path / "link.jsonl", tmp_path / "hard.jsonl"
    link.symlink_to(gold)
    os.link(gold, hard)
    for output in (gold, link, hard, tmp_path / "x" / ".." / "gold.jsonl"):
        (tmp_path / "x").mkdir(exist_ok=True)
        refused(capsys, gold, "extract", gold, "-o", output, *more)
        refused(capsys, gold, "export", "--to", "coco", "--gold", gold, "-o", output, *more)
        refused(capsys, gold, "view", answers, "--gold", gold, "-o", output, *more)
    refused(capsys, answers, "view", answers, "--gold", gold, "-o", answers, *more)
    refused(
        capsys,
        answers,
        "export",
        "--to",
        "label-studio",
        "--gold",
        gold,
        "--predictions",
        answers,
        "-o",
        answers,
        *more,
    )
    refused(capsys, gold, "compile", "--train", gold, "--run-dir", tmp_path / "run", "-o", gold, *more)
    folder = tmp_path / "posts"
    folder.mkdir()
    gold.rename(folder / "posts.jsonl")
    note = folder / "note.html"
    note.write_text("mine")
    refused(capsys, note, "view", answers, "--gold", folder, "-o", note, *more)


def test_a_file_of_somebody_else_needs_overwrite(
    gold: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    commands_of = {
        "notes.jsonl": ("extract", gold),
        "notes.html": ("view", answers, "--gold", gold),
        "notes.json": ("export", "--to", "coco", "--gold", gold),
        "notes.xml.json": ("export", "--to", "label-studio", "--gold", gold),
        "sheet.png": ("world", "--no-model", "--posts", 2, "--sheet", tmp_path / "sheet.png"),
    }
    for name, words in commands_of.items():
        output = tmp_path / name
        output.write_text("my notes")
        place = [] if words[0] == "world" else ["-o", output]
        refused(capsys, output, *words, *place, said="exists already")
        assert run(*words, *place, "--overwrite") == 0, name
        assert output.read_bytes() != b"my notes"
    (tmp_path / "tasks.xml").write_text("my notes")
    words = ("export", "--to", "label-studio", "--gold", gold, "-o", tmp_path / "tasks.json")
    refused(capsys, tmp_path / "tasks.xml", *words, said="exists already")
    assert not (tmp_path / "tasks.json").exists()


def test_the_same_command_again_is_fine_and_another_is_not(
    gold: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    view = ("view", answers, "--gold", gold, "-o", tmp_path / "page.html")
    assert [run(*view), run(*view)] == [0, 0]
    refused(capsys, tmp_path / "page.html", *view, "--limit", 1, said="exists already, with other content")
    world = ("world", "--no-model", "--posts", 3, "-o", tmp_path / "world")
    assert [run(*world), run(*world)] == [0, 0]
    posts = tmp_path / "world" / "posts.jsonl"
    refused(capsys, posts, "world", "--no-model", "--posts", 2, "-o", tmp_path / "world", said="exists already")
    extract = ("extract", gold, "-o", tmp_path / "pred.jsonl")
    assert [run(*extract), run(*extract)] == [0, 0]
    refused(capsys, tmp_path / "pred.jsonl", *extract, "--limit", 1, said=r"other posts (3 there, 1 now)")
    refused(capsys, tmp_path / "pred.jsonl", *extract, "--staged", said="other program")


def test_standard_input_and_output(
    gold: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def feed(path: Path) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))

    monkeypatch.chdir(tmp_path)
    feed(gold)
    assert run("extract", "-", "-o", "-") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b", "c"]
    feed(answers)
    assert run("evaluate", "-", "--gold", gold, "--json") == 0
    assert json.loads(capsys.readouterr().out)["mner"]["f1"] == 100.0
    feed(gold)
    assert run("export", "--to", "coco", "--gold", "-", "-o", "-") == 0
    assert "annotations" in json.loads(capsys.readouterr().out)
    assert not (tmp_path / "-").exists()
    assert run("view", answers, "--gold", gold, "-o", "-") == 2
    assert run("evaluate", "-", "--gold", "-") == 2
    assert run("export", "--to", "voc", "--gold", gold, "-o", "-") == 2


def test_a_link_stays_and_a_pipe_is_written_to(gold: Path, answers: Path, tmp_path: Path):
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "target.html")
    assert run("view", answers, "--gold", gold, "-o", link) == 0
    assert link.is_symlink()
    assert (tmp_path / "target.html").read_text().startswith("<!doctype html>")
    reader, writer = os.pipe()
    try:
        assert run("extract", gold, "-o", f"/dev/fd/{writer}") == 0
        assert os.read(reader, 10_000).count(b"\n") == 3
    finally:
        os.close(reader)
        os.close(writer)


def test_a_bundle_of_another_run_needs_overwrite(gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    bundle = tmp_path / "bundle"
    words = ("compile", "--train", gold, "-o", bundle, "--preset", "tiny", "--run-dir")
    assert run(*words, tmp_path / "one") in (0, 3)
    manifest = bundle / "manifest.json"
    assert run(*words, tmp_path / "one") in (0, 3)
    refused(capsys, manifest, *words, tmp_path / "two", said="Another bundle lies here")
    assert run(*words, tmp_path / "two", "--overwrite") in (0, 3)


def test_fetching_into_a_folder_of_somebody_else_is_refused(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    refused(capsys, folder / "thesis.tex", "fetch", gold, "-o", folder, said="something other than an earlier fetch")
    assert [run("fetch", gold, "-o", tmp_path / "new") for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("suffix", [".part", ".run.json"])
def test_what_a_run_keeps_beside_its_answers_is_no_input(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
):
    posts = gold.rename(tmp_path / f"a.jsonl{suffix}")
    refused(capsys, posts, "extract", posts, "-o", tmp_path / "a.jsonl", "--overwrite")


def test_the_page_of_a_run_goes_to_a_device_or_its_own_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"model": "m", "train": [], "mrsi": None, "cvo": None}))
    page = tmp_path / "page.html"
    assert [run("run", tmp_path / "run", "-o", path) for path in ("/dev/null", page, page)] == [0, 0, 0]
    page.write_text("mine")
    refused(capsys, page, "run", tmp_path / "run", "-o", page, said="exists already")


def test_a_resumed_run_names_the_folder_of_images_that_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "posts.jsonl").write_text('{"id": "a", "text": "Ana", "image": "a.png"}\n{"id": "b", "text": "Bo"}')
    for name in ("wrong", "right"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "right" / "a.png")
    words = ("extract", tmp_path / "posts.jsonl", "-o", tmp_path / "out.jsonl")
    said = []
    for images in (
        ["--images", tmp_path / "wrong"],
        ["--images", tmp_path / "right"],
        ["--images", tmp_path / "right"],
    ):
        assert run(*words, *images) == 0
        said.append(capsys.readouterr().err)
    change = f"--images was {tmp_path / 'wrong'}, now {tmp_path / 'right'}"
    assert [change in line for line in said] == [False, True, False]
    assert "1 posts failed before and are tried again" in said[1]
    assert run(*words) == 0
    assert f"--images was {tmp_path / 'right'}, now not given" in capsys.readouterr().err
