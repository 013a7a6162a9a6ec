"""Files of commands: inputs are never replaced, other files only with --overwrite; `-` is standard input and output."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
from command_line import run
from PIL import Image
from scripted import scripted_lm

from gmner.cli import models
from gmner.data.files.outputs import check_inputs
from gmner.data.jsonl import write_predictions
from gmner.data.prediction import Prediction
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GroundedEntity

ANA = {"span": "Ana", "start": 0, "end": 3, "type": "PER", "boxes": []}


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes commands use a scripted program."""
    lm = scripted_lm({"reasoning": "", "entities": []})

    def load(model: str | None, staged: bool = False, **_: object) -> GMNER | StagedGMNER:
        return (StagedGMNER if staged else GMNER)(lm)

    monkeypatch.setattr(models, "load_program", load)


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


def refused(capsys: pytest.CaptureFixture[str], kept: Path, *words: object, message: str = "replace an input") -> None:
    before = kept.read_bytes()
    assert run(*words) == 2
    assert message in capsys.readouterr().err
    assert kept.read_bytes() == before


@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["plain", "overwrite"])
def test_no_command_overwrites_an_input(
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


@pytest.mark.parametrize("form", ["coco", "label-studio"])
def test_export_into_its_input_folder_is_refused(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str
):
    monkeypatch.chdir(tmp_path)
    refused(capsys, gold, "export", "--to", form, "--gold", gold, "-o", ".")


def test_standard_output_has_no_control_characters_of_posts(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given = [{**json.loads(line), "id": f"\x9b31m\u202e{n}"} for n, line in enumerate(gold.read_text().splitlines())]
    gold.write_text("".join(json.dumps(record) + "\n" for record in given))
    assert run("export", "--to", "coco", "--gold", gold, "-o", "-") == 0
    exported = capsys.readouterr().out
    assert run("extract", gold, "-o", "-") == 0
    answered = capsys.readouterr().out
    assert not {"\x9b", "\u202e"} & {*exported, *answered}
    assert [post["id"] for post in json.loads(exported)["posts"]] == [record["id"] for record in given]
    assert [json.loads(line)["id"] for line in answered.splitlines()] == [record["id"] for record in given]


def test_circular_links_are_not_replaced(gold: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    one, other = tmp_path / "one.html", tmp_path / "other.html"
    one.symlink_to(other)
    other.symlink_to(one)
    for words in (("view", answers, "--gold", gold), ("export", "--to", "coco", "--gold", gold), ("extract", gold)):
        assert run(*words, "-o", one) == 2
        assert "already exists" in (message := capsys.readouterr().err) or "symbolic links" in message
        assert one.is_symlink()


def test_replacing_another_file_needs_overwrite(
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
        refused(capsys, output, *words, *place, message="already exists")
        assert run(*words, *place, "--overwrite") == 0, name
        assert output.read_bytes() != b"my notes"
    (tmp_path / "tasks.xml").write_text("my notes")
    words = ("export", "--to", "label-studio", "--gold", gold, "-o", tmp_path / "tasks.json")
    refused(capsys, tmp_path / "tasks.xml", *words, message="already exists")
    assert not (tmp_path / "tasks.json").exists()


def test_same_command_may_be_repeated_and_others_may_not_replace(
    gold: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    view = ("view", answers, "--gold", gold, "-o", tmp_path / "page.html")
    assert [run(*view), run(*view)] == [0, 0]
    refused(capsys, tmp_path / "page.html", *view, "--limit", 1, message="already exists with other content")
    world = ("world", "--no-model", "--posts", 3, "-o", tmp_path / "world")
    assert [run(*world), run(*world)] == [0, 0]
    posts = tmp_path / "world" / "posts.jsonl"
    refused(capsys, posts, "world", "--no-model", "--posts", 2, "-o", tmp_path / "world", message="already exists")
    extract = ("extract", gold, "-o", tmp_path / "pred.jsonl")
    assert [run(*extract), run(*extract)] == [0, 0]
    refused(capsys, tmp_path / "pred.jsonl", *extract, "--limit", 1, message=r"other posts (3 before, 1 now)")
    refused(capsys, tmp_path / "pred.jsonl", *extract, "--staged", message="other program")


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


def test_output_to_links_and_pipes(gold: Path, answers: Path, tmp_path: Path):
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


def test_replacing_a_bundle_of_another_run_needs_overwrite(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bundle = tmp_path / "bundle"
    words = ("compile", "--train", gold, "-o", bundle, "--preset", "tiny", "--run-dir")
    assert run(*words, tmp_path / "one") in (0, 3)
    manifest = bundle / "manifest.json"
    assert run(*words, tmp_path / "one") in (0, 3)
    refused(capsys, manifest, *words, tmp_path / "two", message="not written by the compile")
    assert run(*words, tmp_path / "two", "--overwrite") in (0, 3)


def test_fetching_into_a_folder_with_other_files_is_refused(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    refused(capsys, folder / "thesis.tex", "fetch", gold, "-o", folder, message="something other than an earlier fetch")
    assert [run("fetch", gold, "-o", tmp_path / "new") for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("suffix", [".part", ".run.json"])
def test_input_with_the_name_of_a_kept_file_is_refused(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
):
    posts = gold.rename(tmp_path / f"a.jsonl{suffix}")
    refused(capsys, posts, "extract", posts, "-o", tmp_path / "a.jsonl", "--overwrite")


def test_run_page_may_be_written_to_a_device_or_replace_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"model": "m", "train": [], "mrsi": None, "cvo": None}))
    page = tmp_path / "page.html"
    assert [run("run", tmp_path / "run", "-o", path) for path in ("/dev/null", page, page)] == [0, 0, 0]
    page.write_text("mine")
    refused(capsys, page, "run", tmp_path / "run", "-o", page, message="already exists")


def test_resumed_run_reports_a_changed_image_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "posts.jsonl").write_text('{"id": "a", "text": "Ana", "image": "a.png"}\n{"id": "b", "text": "Bo"}')
    for name in ("wrong", "right"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "right" / "a.png")
    words = ("extract", tmp_path / "posts.jsonl", "-o", tmp_path / "out.jsonl")
    message = []
    for images in (
        ["--images", tmp_path / "wrong"],
        ["--images", tmp_path / "right"],
        ["--images", tmp_path / "right"],
    ):
        assert run(*words, *images) == 0
        message.append(capsys.readouterr().err)
    change = f"--images was {tmp_path / 'wrong'}, now {tmp_path / 'right'}"
    assert [change in line for line in message] == [False, True, False]
    assert "Retrying 1 post that failed before" in message[1]
    assert run(*words) == 0
    assert f"--images was {tmp_path / 'right'}, now not given" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["view", "coco", "label-studio"])
def test_only_the_same_command_replaces_a_page_or_an_export(
    gold: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
):
    output = tmp_path / "out.json"
    words = ("view", answers, "--gold", gold, "-o", output)
    if form != "view":
        words = ("export", "--to", form, "--gold", gold, "--predictions", answers, "-o", output)
    assert run(*words) == 0
    first = output.read_bytes()
    bo = GroundedEntity("Ana", 0, 3, "ORG", Box(1, 1, 9, 9))
    pictured = [json.loads(line) | {"image": "a.png"} for line in gold.read_text().splitlines()]
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    gold.write_text("".join(json.dumps(line) + "\n" for line in pictured))
    write_predictions([Prediction(name, "Ana", "", (bo,)) for name in "abc"], answers)
    assert run(*words) == 0  # the predictions have changed, but not the command
    assert output.read_bytes() != first
    gold.with_name("more.jsonl").write_text("".join(gold.read_text().splitlines(True)[:2]))
    others = [gold.with_name("more.jsonl") if word == gold else word for word in words]
    refused(capsys, output, *others, "--images", tmp_path, message=f"gold was {gold}, now {tmp_path / 'more.jsonl'}")
    output.write_bytes(output.read_bytes() + b" ")
    write_predictions([Prediction(name, "Ana", "", ()) for name in "abc"], answers)
    refused(capsys, output, *words, message="already exists with other content (got ")
    assert run(*words, "--overwrite") == 0
    write_predictions([Prediction(name, "Ana", "", (bo,)) for name in "abc"], answers)
    assert run(*words) == 0


def test_exporting_another_split_into_the_same_folder(gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ("export", "--to", "voc", "-o", tmp_path / "voc", "--gold")
    assert run(*words, gold) == 0
    other = tmp_path / "other.jsonl"
    other.write_text(gold.read_text().replace('"id": "a"', '"id": "d"').replace("PER", "ORG"))
    refused(capsys, tmp_path / "voc" / "txt" / "train.txt", *words, other, message="already exists")
    assert not (tmp_path / "voc" / "xml" / "d.xml").exists()
    assert [run(*words, gold), run(*words, other, "--overwrite")] == [0, 0]
    assert (tmp_path / "voc" / "xml" / "a.xml").exists()


def test_no_command_overwrites_an_image_of_a_post(
    gold: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9)).save(image := tmp_path / "images" / "a.png")
    os.link(image, tmp_path / "hard.png")
    gold.write_text(json.dumps({"id": "a", "text": "Ana", "entities": [ANA], "image": "images/a.png"}) + "\n")
    for output in (image, tmp_path / "hard.png"):
        refused(capsys, image, "view", answers, "--gold", gold, "-o", output, "--overwrite")
        refused(capsys, image, "export", "--to", "coco", "--gold", gold, "-o", output, "--overwrite")
        refused(capsys, image, "extract", gold, "-o", output, "--overwrite")


def test_run_directory_with_other_files_is_refused(gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "data"
    folder.mkdir()
    posts = gold.rename(folder / "posts.jsonl")
    words = ("compile", "--train", posts, "-o", tmp_path / "bundle", "--run-dir")
    refused(capsys, posts, *words, folder)
    refused(capsys, posts, *words, posts)
    (tmp_path / "notes").mkdir()
    (note := tmp_path / "notes" / "note.txt").write_text("mine")
    refused(capsys, note, *words, tmp_path / "notes", message="something that does not belong to a run")
    refused(
        capsys, note, "quickstart", "--run-dir", tmp_path / "notes", message="something that does not belong to a run"
    )
    refused(capsys, note, "quickstart", "--run-dir", note, message="something that does not belong to a run")


def test_checkpoint_output_is_checked_before_loading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def load(path: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("gmner.programs.bundle.load", load)
    bundle, full = tmp_path / "bundle", tmp_path / "full"
    for folder in (bundle, full):
        folder.mkdir()
        (folder / "note.txt").write_text("mine")
    for more in ([], ["--overwrite"]):
        refused(capsys, full / "note.txt", "merge", bundle, "-o", full, *more, message="output folder is not empty")
        refused(capsys, bundle / "note.txt", "merge", bundle, "-o", bundle, *more)
        refused(capsys, bundle / "note.txt", "merge", bundle, "-o", bundle / "new", *more, message="part of an input")
    for name in ("config.json", "model.safetensors"):
        (full / name).write_text("{}")
    refused(capsys, full / "note.txt", "merge", bundle, "-o", full, message="--overwrite to replace it")


def test_default_run_page_replaces_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "config.json").write_text(json.dumps({"model": "m", "train": [], "mrsi": None, "cvo": None}))
    assert [run("run", tmp_path), run("run", tmp_path), run("run", tmp_path, "-o", tmp_path / "run.html")] == [0] * 3
    (tmp_path / "run.html").write_text("mine")
    refused(capsys, tmp_path / "run.html", "run", tmp_path, message="already exists")
    refused(capsys, tmp_path / "config.json", "run", tmp_path, "-o", tmp_path / "config.json", "--overwrite")


def test_input_is_recognized_if_case_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "data").mkdir()
    (posts := tmp_path / "data" / "posts.jsonl").write_text("{}")
    (tmp_path / "Data").symlink_to(tmp_path / "data")  # simulates a file system that ignores case
    monkeypatch.setattr(os.path, "realpath", os.path.abspath)
    for output in (tmp_path / "Data" / "posts.jsonl", tmp_path / "Data"):
        with pytest.raises(InputError, match="replace an input"):
            check_inputs(output, [posts])
