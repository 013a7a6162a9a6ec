"""Bundles: their content, round trips, and the detection of every modification."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dspy
import pytest
import torch
from kills import kills
from peft import LoraConfig, get_peft_model
from PIL import Image
from scripted import scripted_lm
from transformers import AutoModelForImageTextToText

from gmner.data.post import Post
from gmner.programs import bundle_files
from gmner.programs.bundle import load, load_state, save_bundle
from gmner.programs.gmner import GMNER
from gmner.programs.manifest import MANIFEST_FILE
from gmner.programs.models.families import ModelProfile, ResizeRule
from gmner.programs.models.loading import load_vlm
from gmner.programs.staged import StagedGMNER
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import BundleError
from gmner.signatures.labels import LabelSet
from gmner.signatures.mentions import GroundedEntity
from gmner.signatures.schema import Limits

LABELS = LabelSet.of({"PER": "a person", "LOC": ""})
SHORT = Limits(reasoning=20, entities=2)
POSTS = [Post("1", "Kevin Durant in Paris"), Post("2", "red team", Image.new("RGB", (60, 90), "red"))]
ANA = GroundedEntity("Ana", 0, 3, "PER", Box(5.0, 6.0, 30.0, 39.5))
ANSWER = """
import json, sys
from test_bundle import POSTS, answers
import gmner
print(json.dumps(answers(gmner.load(sys.argv[1], cache=False))))
"""


def demonstrated(program: GMNER, image: object = None) -> GMNER:
    program.answer.demos = [
        {"text": "Ana", "image": image, "reasoning": "A woman.", "entities": [ANA] if image else []},
        dspy.Example(text="Ana!", image=None, entities=[replace(ANA, box=None)], post=POSTS[0], augmented=True),
    ]
    program.answer.signature = program.answer.signature.with_instructions("Look twice.")
    return program


def answers(program: GMNER) -> list[dict]:
    return [prediction.to_record() for prediction in program.batch_posts(POSTS, progress=False)]


@pytest.fixture(scope="module")
def adapted(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter for the tiny Qwen2.5-VL that changes its answers."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    model = AutoModelForImageTextToText.from_pretrained(tiny("qwen2_5_vl"))
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tuned(tiny: Callable[[str], Path], adapted: Path) -> GMNER:
    """A program on a tiny model with an adapter, demonstrations, labels and limits."""
    lm = load_vlm(tiny("qwen2_5_vl"), adapter=adapted, cache=False, max_batch=3, name="tuned")
    program = GMNER(lm, labels=LABELS, limits=SHORT)
    program.scores = {"cvo": {"gmner": {"f1": 12.5}}}
    return demonstrated(program, Image.new("RGB", (50, 40), "blue"))


@pytest.fixture(scope="module")
def saved(tuned: GMNER, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    tuned.save(folder)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "bundle"))


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The bundle of a program on a served LM."""
    program = demonstrated(GMNER(scripted_lm({}), profile=ModelProfile(rule=ResizeRule(28, 1, 9))))
    return save_bundle(program, tmp_path / "served")


def change(folder: Path, **fields: object) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest | fields))


def test_bundle_has_the_documented_files_and_no_pickle(saved: Path):
    files = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    top = {"manifest.json", "program.json", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    assert top <= files
    assert {Path(name).suffix for name in files} <= {".json", ".safetensors", ".png", ".jinja", ".txt"}
    assert len([name for name in files if name.startswith("demos/")]) == 1
    (saved.parent / "new").mkdir()
    assert saved.stat().st_mode == (saved.parent / "new").stat().st_mode


def test_manifest_content(saved: Path):
    manifest = json.loads((saved / MANIFEST_FILE).read_text())
    assert manifest["program"] == "GMNER"
    assert manifest["base"]["kind"] == "bundled"
    assert manifest["box_format"] == {"frame": "resized", "scale": 1000}
    assert manifest["labels"] == [["PER", "a person"], ["LOC", ""]]
    assert manifest["scores"] == {"cvo": {"gmner": {"f1": 12.5}}}
    assert {"gmner", "dspy", "transformers", "torch", "outlines"} <= set(manifest["versions"])
    assert "program.json" in manifest["files"]


def test_bundle_contains_no_local_path(saved: Path, tiny: Callable[[str], Path]):
    home = str(tiny("qwen2_5_vl").parent)
    assert [path for path in saved.rglob("*.json") if home in path.read_text(encoding="utf-8")] == []


@pytest.mark.e2e
def test_loaded_bundle_gives_identical_answers_in_a_new_process(tuned: GMNER, saved: Path, tiny: Callable[[str], Path]):
    script = [sys.executable, "-c", ANSWER, str(saved)]
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    run = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    expected = answers(tuned)
    assert json.loads(run.stdout.splitlines()[-1]) == json.loads(json.dumps(expected))
    plain = GMNER(load_vlm(tiny("qwen2_5_vl"), cache=False), labels=LABELS, limits=SHORT)
    assert answers(demonstrated(plain, Image.new("RGB", (50, 40), "blue"))) != expected


def test_bundle_of_an_earlier_version_loads(tuned: GMNER, saved: Path, tmp_path: Path):
    shutil.copytree(saved, tmp_path / "old")
    versions = json.loads((saved / MANIFEST_FILE).read_text())["versions"]
    change(tmp_path / "old", versions=versions | {"gmner": "0.1.0"})
    assert load(tmp_path / "old").scores == tuned.scores


def test_bundle_round_trip(tuned: GMNER, saved: Path):
    program = load(saved, max_batch=5)
    assert type(program) is GMNER
    assert (program.labels, program.limits, program.profile) == (LABELS, SHORT, None)
    assert program.scores == tuned.scores
    assert program.model.model == tuned.model.model
    assert program.model.engine.dump_state()["max_batch"] == 5
    assert program.model.cache is False
    assert program.answer.signature.instructions == "Look twice."
    first, second = program.answer.demos
    assert Path(first["image"]).is_absolute()
    assert first["entities"] == [{"span": "Ana", "start": 0, "end": 3, "type": "PER", "box": [5.0, 6.0, 30.0, 39.5]}]
    assert set(second) == {"text", "image", "entities"}
    inputs = {"text": "x", "image": None}
    chats = [p.adapter().format(p.answer.signature, p.answer.demos, inputs) for p in (program, tuned)]
    assert chats[0] == chats[1]


def test_loaded_program_can_replace_its_bundle(copied: Path):
    program = load(copied)
    program.answer.demos = program.answer.demos[:1]
    program.save(copied, scores={"new": 1})
    again = load(copied)
    assert len(again.answer.demos) == 1
    assert again.scores == {"new": 1}
    assert [path.name for path in copied.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    "name", ["adapter/adapter_model.safetensors", "model/model.safetensors", "program.json", "model/config.json"]
)
def test_modified_file_is_detected(copied: Path, name: str):
    data = bytearray((copied / name).read_bytes())
    data[-1] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"modified.*{name}.*got 'sha256.*Accepted: sha256.*again"):
        load(copied)


def test_modified_image_is_detected(copied: Path):
    (picture,) = (copied / "demos").iterdir()
    Image.new("RGB", (50, 40), "red").save(picture)
    with pytest.raises(BundleError, match="modified"):
        load(copied)


def test_missing_file_is_reported(copied: Path):
    (copied / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"missing.*adapter_model\.safetensors"):
        load(copied)


def test_additional_files_are_refused_only_in_subfolders(copied: Path):
    (copied / "README.md").write_text("mine")
    load_state(GMNER(scripted_lm({})), copied)
    (copied / "model" / "gmner.json").write_text("{}")
    with pytest.raises(BundleError, match=r"not in its manifest.*model/gmner\.json"):
        load(copied)


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "demos/../../outside", "C:/outside", "a\\..\\b"])
def test_path_out_of_the_bundle_is_refused(served: Path, path: str):
    change(served, files={path: "0" * 64})
    with pytest.raises(BundleError, match="leads out of the bundle"):
        load(served, lm=scripted_lm({}))


def test_image_missing_in_the_manifest_is_refused(served: Path):
    state = json.loads((served / "program.json").read_text())
    state["answer"]["demos"][0]["image"] = "/etc/hostname"
    (served / "program.json").write_text(json.dumps(state))
    change(served, files=bundle_files.hash_files(served))
    with pytest.raises(BundleError, match=r"image of a demonstration is not in the bundle.*/etc/hostname"):
        load(served, lm=scripted_lm({}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"program": "Mine"}, r"unknown program.*'Mine'.*GMNER, StagedGMNER"),
        ({"format": 2}, r"another format.*got 2.*Update gmner"),
        ({"surprise": 1}, "not the manifest.*surprise"),
        ({"labels": "PER"}, "not the manifest.*labels"),
    ],
    ids=["program", "format", "surplus", "labels"],
)
def test_manifest_of_another_format_is_refused(served: Path, fields: dict, message: str):
    change(served, **fields)
    with pytest.raises(BundleError, match=f"(?s){message}"):
        load(served, lm=scripted_lm({}))


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
def test_manifest_must_be_a_json_object(tmp_path: Path, text: str):
    (tmp_path / MANIFEST_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError):
        load(tmp_path)


@pytest.mark.parametrize("name", ["missing", "."])
def test_folder_without_manifest_is_not_a_bundle(tmp_path: Path, name: str):
    with pytest.raises(BundleError, match="folder is not a bundle"):
        load(tmp_path / name)


def test_program_with_a_served_lm_needs_an_lm(served: Path):
    with pytest.raises(BundleError, match=r"served LM.*local/a.*lm="):
        load(served)
    program = load(served, lm=scripted_lm({"reasoning": "", "entities": []}))
    assert program.profile == ModelProfile(BoxFormat(), rule=ResizeRule(28, 1, 9))
    assert program(text="Ana").entities == []


def test_recorded_model_arguments_need_consent(copied: Path):
    settings = json.loads((copied / MANIFEST_FILE).read_text())["lm"]
    change(copied, lm=settings | {"model_kwargs": {"attn_implementation": "someone/kernel"}})
    with pytest.raises(BundleError, match="someone/kernel"):
        load(copied)
    change(copied, lm=settings | {"model_kwargs": {"attn_implementation": "eager"}})
    assert load(copied).model.engine.model.config._attn_implementation == "eager"


@pytest.fixture
def named(tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A base model that counts as too large to be copied, and a bundle that refers to it."""
    base = Path(shutil.copytree(tiny("qwen2_5_vl"), tmp_path / "base"))
    monkeypatch.setattr(bundle_files, "COPIED_BELOW", 0)
    return base, save_bundle(GMNER(load_vlm(base)), tmp_path / "bundle")


def test_large_base_model_is_stored_by_path(named: tuple[Path, Path]):
    base, folder = named
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "program.json"]
    assert load(folder).model.engine.path == base.resolve()


def test_missing_or_changed_base_model_is_an_error(named: tuple[Path, Path], tiny: Callable[[str], Path]):
    base, folder = named
    (base / "gmner.json").write_text('{"terse": true}')
    with pytest.raises(BundleError, match=r"not the one that the bundle was saved with.*base="):
        load(folder)
    shutil.rmtree(base)
    with pytest.raises(BundleError, match=r"base model of the bundle was not found.*base="):
        load(folder)
    assert load(folder, base=tiny("qwen2_5_vl")).model.engine.path == tiny("qwen2_5_vl").resolve()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_save_overwrites_only_bundles(tmp_path: Path, kind: str):
    place = tmp_path / "mine"
    if kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "thesis.tex").write_text("mine")
    with pytest.raises(BundleError, match="overwrite"):
        save_bundle(GMNER(scripted_lm({})), place)
    assert (place if kind == "file" else place / "thesis.tex").read_text() == "mine"


def test_failed_save_keeps_the_old_bundle(served: Path):
    before = (served / MANIFEST_FILE).read_bytes()
    program = GMNER(scripted_lm({}))
    program.answer.demos = [{"text": "Ana", "image": None, "reasoning": object(), "entities": []}]
    with pytest.raises(BundleError, match="reasoning"):
        save_bundle(program, served)
    assert (served / MANIFEST_FILE).read_bytes() == before
    assert [path.name for path in served.parent.iterdir()] == ["served"]


def test_unsupported_programs_are_refused(tmp_path: Path):
    staged = StagedGMNER(scripted_lm({}))
    staged.ground.lm = scripted_lm({}, name="b")
    with pytest.raises(BundleError, match="several LMs"):
        save_bundle(staged, tmp_path / "a")
    with pytest.raises(BundleError, match="scores must be JSON"):
        save_bundle(GMNER(scripted_lm({})), tmp_path / "a", scores={"f1": object()})

    class Mine(GMNER):
        pass

    with pytest.raises(BundleError, match="Programs of this class"):
        save_bundle(Mine(scripted_lm({})), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_staged_program_round_trip(tmp_path: Path):
    program, picture = StagedGMNER(scripted_lm({})), Image.new("RGB", (50, 40))
    common = {"text": "Ana", "image": picture, "mention": ANA}
    program.verify.demos = [common | {"evidence": "A woman.", "visible": True}]
    program.ground.demos = [common | {"box": ANA.box}]
    save_bundle(program, tmp_path / "staged")
    again = load(tmp_path / "staged", lm=scripted_lm({}))
    assert type(again) is StagedGMNER
    for name in ("verify", "ground"):
        old, new = getattr(program, name), getattr(again, name)
        chats = [program.adapter().format(p.signature, p.demos, common) for p in (old, new)]
        assert chats[0] == chats[1]
    with pytest.raises(BundleError, match="program of another class"):
        load_state(GMNER(scripted_lm({})), tmp_path / "staged")


def test_program_loads_the_state_of_a_bundle(served: Path):
    lm = scripted_lm({})
    program = GMNER(lm)
    program.load(served)
    assert program.model is lm
    assert len(program.answer.demos) == 2


@pytest.mark.slow
def test_killed_save_leaves_the_old_or_the_new_bundle(tmp_path: Path):
    def named(name: str) -> GMNER:
        program = GMNER(scripted_lm({}, name=name))
        program.answer.demos = [{"text": name, "image": None, "reasoning": "", "entities": []}]
        return program

    found = set()
    old = save_bundle(named("old"), tmp_path / "old")
    for kill in kills(
        lambda folder: save_bundle(named("new"), folder / "bundle"),
        tmp_path / "kills",
        lambda folder: shutil.copytree(old, folder / "bundle"),
    ):
        found.add(load(kill.folder / "bundle", lm=scripted_lm({})).answer.demos[0]["text"])
    assert found == {"old", "new"}
