"""The fuzz test of `benchmarks/fuzz.py`: it covers every family and script, and finds what is wrong with an answer."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image
from scripts import SAMPLES

from gmner.data.post import Post
from gmner.programs.models.families import FAMILIES
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GroundedEntity


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", Path(__file__).parent.parent / "benchmarks" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_family_that_is_not_refused_is_tested(fuzz):
    assert set(FAMILIES) - set(fuzz.NAMES) == {"molmo2", "paligemma", "florence2"}


def test_each_script_is_a_vocabulary(fuzz):
    assert list(fuzz.vocabularies(None)) == [*(sample.id for sample in SAMPLES), "mixed"]
    assert list(fuzz.vocabularies(["thai"])) == ["thai"]


@pytest.mark.parametrize(
    ("span", "box", "image", "expected"),
    [
        ("Paris", Box(0.0, 0.0, 90.0, 60.0), True, ""),
        ("Paris", None, False, ""),
        ("paris", None, True, "a span is not verbatim"),
        ("Paris", Box(0.0, 0.0, 90.1, 60.0), True, "a box outside of the image"),
        ("Paris", Box(0.0, 0.0, 1.0, 1.0), False, "a box without an image"),
    ],
)
def test_faults_are_found(fuzz, span: str, box: Box | None, image: bool, expected: str):
    post = Post("1", "In Paris", Image.new("RGB", (90, 60)) if image else None)
    assert fuzz.fault(post, [GroundedEntity(span, 3, 8, "LOC", box)]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gemini", "kimi_vl", "mimo_vl"])
def test_family_without_a_checkpoint_answers_in_its_convention(fuzz, family: str, tmp_path: Path):
    profile, known = fuzz.lm_of(family, tmp_path).engine.profile, FAMILIES[family]
    assert profile.box_format == known.box_format
    if known.default_resize is not None:
        assert profile.rule == known.default_resize


def test_invalid_answer_stops_the_run(fuzz, monkeypatch, capsys):
    """The command fails, and names the family and the post, at the first invalid answer."""
    monkeypatch.setattr(fuzz, "lm_of", lambda family, folder: None)
    monkeypatch.setattr(fuzz, "fuzz", lambda family, *rest: ("truncated: []", {}))
    monkeypatch.setattr("sys.argv", ["fuzz.py", "--families", "gemma4", "kimi_vl"])
    assert fuzz.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "gemma4: truncated: []"
