"""How commands and the page choose a program; models are loaded once."""

import os
from pathlib import Path

import pytest
from scripted import scripted_lm

from gmner.programs import choice as module
from gmner.programs.choice import LoadedModels, ProgramChoice, check_choice, choose
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import ModelProfile
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The models that were loaded, in order."""
    seen: list[object] = []

    def load_vlm(model: str | None, profile: str | None) -> object:
        seen.append(model)
        return scripted_lm({"reasoning": "", "entities": []}, name=model or "embedded")

    def served_lm(server: str, name: str | None, **_: object) -> tuple[object, ModelProfile]:
        seen.append((server, name))
        return scripted_lm({"reasoning": "", "entities": []}, name=name or "only"), ModelProfile()

    monkeypatch.setattr(module.loading, "load_vlm", load_vlm)
    monkeypatch.setattr(module.servers, "served_lm", served_lm)
    return seen


def test_a_program_with_its_options(loads: list[object]):
    program = choose(ProgramChoice("m", labels=LabelSet(("A",)), confidence=True, answers=3, limit_pictures=2))
    assert type(program) is GMNER
    assert (program.labels.names, program.confidence, program.answers, program.limit_pictures) == (("A",), True, 3, 2)
    plain = choose(ProgramChoice(staged=True))
    assert type(plain) is StagedGMNER
    assert (plain.labels, plain.confidence, plain.answers, plain.limit_pictures) == (COARSE, False, 1, None)


def test_other_options_do_not_load_the_model_again(loads: list[object]):
    kept = LoadedModels()
    one = choose(ProgramChoice("m"), loaded=kept)
    other = choose(ProgramChoice("m", staged=True, labels=LabelSet(("A",))), loaded=kept)
    assert one.model is other.model
    assert one.labels == COARSE
    choose(ProgramChoice(server="http://s/v1"), loaded=kept)
    choose(ProgramChoice("m", confidence=True), loaded=kept)
    choose(ProgramChoice(None), loaded=kept)  # replaces the server, which was used before `m`
    choose(ProgramChoice("m"), loaded=kept)
    choose(ProgramChoice(server="http://s/v1"), loaded=kept)
    assert loads == ["m", ("http://s/v1", None), None, ("http://s/v1", None)]


def test_a_model_that_was_trained_anew_is_loaded_again(loads: list[object], tmp_path: Path):
    kept, model = LoadedModels(), str(tmp_path)
    (tmp_path / "model.safetensors").write_text("old")
    for _ in range(2):
        choose(ProgramChoice(model), loaded=kept)
    os.utime(tmp_path / "model.safetensors", (1, 1))
    choose(ProgramChoice(model), loaded=kept)
    assert loads == [model, model]


def test_bundles_keep_their_own_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    GMNER(scripted_lm({}), labels=["TEAM"]).save(tmp_path / "b")
    seen: list[object] = []
    made = GMNER(scripted_lm({}), labels=["TEAM"])
    monkeypatch.setattr(module.bundles, "load", lambda path, **options: seen.append((path, list(options))) or made)
    monkeypatch.setattr(module.servers, "served_model", lambda *_, **__: (scripted_lm({}),))
    kept = LoadedModels()
    bundle = str(tmp_path / "b")
    program = choose(ProgramChoice(bundle, confidence=True), loaded=kept)
    assert program.labels.names == ("TEAM",)
    assert (program.confidence, made.confidence) == (True, False)
    choose(ProgramChoice(bundle), loaded=kept)
    choose(ProgramChoice(bundle, server="http://s/v1"), loaded=kept)
    assert seen == [(bundle, []), (bundle, ["lm"])]


def test_refusals(tmp_path: Path, loads: list[object]):
    GMNER(scripted_lm({})).save(tmp_path / "b")
    bundle = str(tmp_path / "b")
    for choice, fact in (
        (ProgramChoice(served="qwen"), "`served` requires `server`"),
        (ProgramChoice("m", task="ner"), r"The task is unknown \(got 'ner'\). Accepted: gmner, mner, grec"),
        (ProgramChoice("m", server="http://s/v1"), "With `server`, `model` must be a bundle"),
        (ProgramChoice(bundle, staged=True), "`staged` cannot be used with a bundle"),
        (ProgramChoice(bundle, labels=COARSE), "`labels` cannot be used with a bundle"),
        (ProgramChoice(bundle, profile="p.json"), "`profile` cannot be used with a bundle"),
    ):
        with pytest.raises(InputError, match=fact):
            choose(choice)
        with pytest.raises(InputError, match=fact.replace("`", "")):
            check_choice(choice, option=lambda name: name)
    assert loads == []
