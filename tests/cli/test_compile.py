"""`gmner compile` and `gmner quickstart`."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import fails, run
from scripted import scripted_lm

from gmner.cli import models
from gmner.cli.models import load_program
from gmner.optimizers import presets, quickstart
from gmner.optimizers.compilation import History
from gmner.optimizers.mcr import MCR
from gmner.optimizers.plain_settings import read_settings, settings_of
from gmner.programs.gmner import GMNER
from gmner.signatures.labels import LabelSet


def test_compile_checks_the_output_first(
    gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(models, "load_program", lambda model, **_: pytest.fail("a model was loaded"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    said = fails(capsys, "compile", "--train", gold, "--run-dir", tmp_path / "run", "-o", tmp_path / "mine")
    assert "would overwrite something else" in said
    assert not list((tmp_path / "run").iterdir())


class Recorded(MCR):
    """Replaces MCR: records the arguments of `compile` and returns the student."""

    def __init__(self, unchanged: str = "", fallen: dict[str, str] | None = None) -> None:
        super().__init__()
        self.history = History({}, {}, "mrsi", {}, unchanged, fallen or {})
        self.given: dict[str, Any] = {}

    def compile(self, student: GMNER, **given: Any) -> GMNER:
        self.given = given
        student.history = self.history
        return student


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The optimizer that replaces every preset."""
    optimizer = Recorded()
    monkeypatch.setattr(presets, "preset", lambda name: optimizer)
    monkeypatch.setattr(models, "load_program", lambda model, **_: GMNER(scripted_lm({})))
    return optimizer


@pytest.fixture
def words(gold: Path, tmp_path: Path) -> tuple[object, ...]:
    """The arguments of a command that compiles into `bundle`."""
    return ("compile", "--train", gold, "--val", gold, "--run-dir", tmp_path / "run", "-o", tmp_path / "bundle")


@pytest.fixture(autouse=True)
def run_directory(tmp_path: Path) -> None:
    """The run directory of a compile, in which the command keeps its record."""
    (tmp_path / "run").mkdir()


def test_compile_passes_its_arguments_and_saves_the_program(
    recorded: Recorded, words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(*words) == 0
    assert {name: len(recorded.given[name]) for name in ("trainset", "valset")} == {"trainset": 2, "valset": 2}
    assert recorded.given["run_dir"] == tmp_path / "run"
    assert "dry_run" not in recorded.given
    assert (recorded.max_minutes, recorded.leave_out_invalid) == (None, False)
    assert (tmp_path / "bundle" / "manifest.json").is_file()
    assert f"gmner extract POSTS --model {tmp_path / 'bundle'} -o PRED.jsonl" in capsys.readouterr().err


def test_compile_options_and_dry_run(recorded: Recorded, words: tuple[object, ...], tmp_path: Path):
    assert run(*words, "--dry-run", "--max-minutes", "1.5", "--leave-out-invalid") == 0
    assert recorded.given["dry_run"] is True
    assert (recorded.max_minutes, recorded.leave_out_invalid) == (1.5, True)
    assert not (tmp_path / "bundle").exists()


def test_settings_of_a_file_and_of_the_command_line(
    words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    seen: list[MCR] = []
    monkeypatch.setattr(MCR, "compile", lambda self, student, **_: seen.append(self) or student)
    monkeypatch.setattr(models, "load_program", lambda model, **_: GMNER(scripted_lm({})))
    (tmp_path / "mcr.yaml").write_text(
        "seed: 3\nmrsi: {max_steps: 5, lora: {rank: 4}}\ncvo: {rate: 1e-4, prompts: 2}\n"
    )
    chosen = ("--config", tmp_path / "mcr.yaml", "--set", "cvo.rate=1e-5", "--set", "mrsi.styles=[table]")
    assert run(*words, "--preset", "tiny", "--dry-run", *chosen) == 0
    (optimizer,) = seen
    assert (optimizer.seed, optimizer.mrsi.max_steps, optimizer.mrsi.lora.rank, optimizer.mrsi.batch) == (3, 5, 4, 16)
    assert (list(optimizer.mrsi.styles), optimizer.cvo.rate, optimizer.cvo.prompts) == (["table"], 1e-5, 2)
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert read_settings(tmp_path / "printed.yaml") == settings_of(optimizer)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (("--set", "cvo.rat=1"), "Unknown setting cvo.rat"),
        (("--set", "cvo.rate=fast"), "cvo: rate must be a number or None (got 'fast')"),
        (("--set", "seed"), "not of the form NAME=VALUE (got 'seed')"),
        (("--config", "none.yaml"), "none.yaml"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unusable_settings_are_refused_before_posts_are_read(
    words: tuple[object, ...], capsys: pytest.CaptureFixture[str], chosen: tuple[str, ...], said: str
):
    words = ("compile", "--train", "none.jsonl", *words[3:])
    assert said in fails(capsys, *words, *chosen)


def test_compile_skips_posts_without_an_image(
    recorded: Recorded, words: tuple[object, ...], capsys: pytest.CaptureFixture[str]
):
    assert run(*words, "--with-pictures") == 0
    assert (recorded.given["trainset"], recorded.given["valset"]) == ([], [])
    assert capsys.readouterr().err.count("Skipped 2 of 2 posts of ") == 2


def test_compile_that_learns_nothing_exits_with_3(
    recorded: Recorded, words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recorded.history = History({}, {}, "before", {}, "no weight changed", {"cvo": "CVO scored below MRSI"})
    assert run(*words) == 3
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "Warning: CVO scored below MRSI",
        f"The compile changed nothing: {tmp_path / 'bundle'} contains the program that it started from",
        "Reason: no weight changed",
    ]
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_labels_reach_the_program_but_not_a_bundle(
    recorded: Recorded,
    words: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    seen: list[object] = []
    monkeypatch.setattr(models, "load_program", lambda *_, labels, **__: seen.append(labels) or GMNER(scripted_lm({})))
    assert run(*words, "--labels", "PER,TEAM") == 0
    assert seen == [LabelSet(("PER", "TEAM"))]
    capsys.readouterr()
    monkeypatch.setattr(models, "load_program", load_program)
    words = (*words[:-1], tmp_path / "other", "--model", tmp_path / "bundle", "--labels", "PER")
    assert "Remove --labels" in fails(capsys, *words)


def test_unknown_preset_is_reported(
    monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(models, "load_program", lambda model, **_: GMNER(scripted_lm({})))
    assert "default, tiny, qwen2.5-vl-7b" in fails(capsys, *words, "--preset", "huge")
    words = ("compile", "--train", "none.jsonl", *words[3:])  # the preset is checked before posts are read
    assert "default, tiny, qwen2.5-vl-7b" in fails(capsys, *words, "--preset", "huge")


def test_quickstart_uses_its_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[Path] = []
    monkeypatch.setattr(quickstart, "main", seen.append)
    monkeypatch.chdir(tmp_path)
    assert [run("quickstart"), run("quickstart", "--run-dir", tmp_path / "run")] == [0, 0]
    assert seen == [Path("runs/quickstart"), tmp_path / "run"]


def test_further_posts_and_expressions_are_mixed(
    recorded: Recorded, words: tuple[object, ...], gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    ref = {"image_id": 9, "split": "train", "file_name": "9_1.jpg", "sentences": [{"sent": "a dog"}]}
    refs = [{**ref, "ref_id": 1, "ann_id": [1]}, {**ref, "ref_id": 2, "ann_id": [1, 2]}]
    boxes = [{"id": number, "image_id": 9, "bbox": [1, 2, 10, 20]} for number in (1, 2)]
    images = [{"id": 9, "file_name": "9.jpg", "width": 100, "height": 80}]
    for name, value in (("refs.json", refs), ("instances.json", {"images": images, "annotations": boxes})):
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "images").mkdir()
    grec = ("--expressions", tmp_path / "refs.json", "--instances", tmp_path / "instances.json", "--most-targets", 1)
    assert run(*words, "--also", gold, *grec) == 0
    assert [post.id for post in recorded.given["trainset"]] == ["a", "b", "2/a", "2/b", "1-0"]
    assert recorded.given["trainset"][-1].task == "grec"
    before = {entity.type for post in recorded.given["trainset"][:-1] for entity in post.gold}
    assert run(*words, "--also", gold, "--rename-type", "PER=HUMAN", *grec, "--overwrite") == 0
    types = {entity.type for post in recorded.given["trainset"][:-1] for entity in post.gold}
    assert "PER" in before
    assert types == {"HUMAN", *before} - {"PER"}
    assert "Images are missing for 1 post" in capsys.readouterr().err
    assert "does not use most_targets" in fails(capsys, *words, "--overwrite", "--most-targets", 1)
    assert "GREC requires the boxes of COCO" in fails(capsys, *words, "--overwrite", *grec[:2])
