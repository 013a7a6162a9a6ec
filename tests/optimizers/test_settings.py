"""The settings of the stages and of a compile: one description, one check, no value shared by two optimizers."""

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from scripted import scripted_lm

import gmner
from gmner.optimizers.compile_settings import CompileSettings
from gmner.optimizers.filtering import filter_by_outcome
from gmner.optimizers.mcr import stage_record
from gmner.optimizers.training.settings import Lora
from gmner.programs.program import AnsweringOptions, GroundingProgram
from gmner.signatures.errors import InputError

EARLIER = Path(__file__).parents[1] / "earlier" / "run" / "config.json"
SHARED = {field.name for field in dataclasses.fields(gmner.Training)}
DEFAULTS = {
    gmner.MRSI: {"batch": 16, "epochs": 2.0, "least_steps": 160, "validate_every": None},
    gmner.CVO: {"batch": 32, "epochs": 1.0, "least_steps": 40, "validate_every": "auto"},
}
USUAL = {"micro_batch": None, "max_steps": None, "rate": None, "tuning": "auto", "lora": Lora(), "patience": 3}


@pytest.mark.parametrize("stage", DEFAULTS)
def test_each_stage_has_the_shared_settings_with_its_own_defaults(stage: type[gmner.Training]):
    assert {name: getattr(stage(), name) for name in SHARED} == {**USUAL, **DEFAULTS[stage]}
    assert dataclasses.replace(stage(rate=1e-3), patience=5) == stage(rate=1e-3, patience=5)
    with pytest.raises(TypeError, match="positional"):
        stage(None)  # type: ignore[misc]


@pytest.mark.parametrize("stage", [gmner.Training, gmner.MRSI, gmner.CVO])
@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        ({"micro_batch": 0}, "micro_batch must be at least 1 (got 0)"),
        ({"micro_batch": "4"}, "micro_batch must be an integer (got '4')"),
        ({"epochs": 0}, "epochs must be positive (got 0)"),
        ({"epochs": float("nan")}, "epochs must be positive (got nan)"),
        ({"epochs": "2"}, "epochs must be a number (got '2')"),
        ({"least_steps": -1}, "least_steps must not be negative (got -1)"),
        ({"max_steps": 0}, "max_steps must be at least 1 (got 0). Accepted: 1 or more, or None"),
        ({"max_steps": True}, "max_steps must be an integer (got True)"),
        ({"rate": -1e-4}, "rate must not be negative (got -0.0001)"),
        ({"rate": float("inf")}, "rate must not be negative"),
        ({"rate": "1e-4"}, "rate must be a number or None (got '1e-4')"),
        ({"tuning": "qlora"}, "(got 'qlora'). Accepted: auto, lora, lora-frozen-vision, full"),
        ({"lora": {"rank": 8}}, "lora must be a Lora"),
        ({"validate_every": 0}, "validate_every must be at least 1, 'auto' or None (got 0)"),
        ({"validate_every": "often"}, "validate_every must be at least 1, 'auto' or None (got 'often')"),
        ({"patience": 0}, "patience must be at least 1 (got 0)"),
    ],
)
def test_values_out_of_range_are_refused(stage: type[gmner.Training], settings: dict[str, Any], fact: str):
    with pytest.raises(InputError) as refusal:
        stage(**settings)
    assert fact in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "settings", "fact"),
    [
        (
            gmner.CVO,
            {"generations": 1},
            "generations must be at least 2, because GRPO compares the answers to a prompt",
        ),
        (gmner.CVO, {"generations": "8"}, "generations must be an integer (got '8')"),
        (gmner.CVO, {"prompts": 0}, "prompts must be at least 1 (got 0)"),
        (gmner.CVO, {"redraws": -1}, "redraws must not be negative (got -1)"),
        (gmner.CVO, {"max_completion_length": 0}, "max_completion_length must be at least 1 (got 0)"),
        (gmner.CVO, {"temperature": 0}, "temperature must be positive (got 0)"),
        (gmner.CVO, {"beta": -0.1}, "beta must not be negative (got -0.1)"),
        (gmner.CVO, {"scale_rewards": "std"}, "scale_rewards (got 'std'). Accepted: none, group, batch"),
        (gmner.CVO, {"rollouts": "any"}, "rollouts (got 'any'). Accepted: free, constrained"),
        (gmner.MRSI, {"per_post": 0}, "per_post must be at least 1 (got 0)"),
        (gmner.MRSI, {"threads": 0}, "threads must be at least 1 (got 0)"),
        (gmner.MRSI, {"styles": {}}, "MRSI needs at least one style"),
        (gmner.MCR, {"d1_share": 0}, "d1_share must be above 0 and at most 1 (got 0)"),
        (gmner.MCR, {"d1_share": "half"}, "d1_share must be above 0 and at most 1 (got 'half')"),
        (gmner.MCR, {"holdout": 1}, "holdout must be at least 0 and below 1 (got 1)"),
        (gmner.MCR, {"max_minutes": 0}, "max_minutes must be positive or None (got 0)"),
        (gmner.MCR, {"learnable_answers": 1}, "learnable_answers must be at least 2, because a single answer"),
        (gmner.MCR, {"seed": -1}, "seed must not be negative (got -1)"),
        (Lora, {"rank": 0}, "rank must be at least 1 (got 0)"),
        (Lora, {"alpha": float("inf")}, "alpha must be positive (got inf)"),
        (Lora, {"dropout": 1.0}, "dropout must be at least 0 and below 1 (got 1.0)"),
    ],
)
def test_settings_of_one_kind_are_checked(kind: Any, settings: dict[str, Any], fact: str):
    with pytest.raises(InputError) as refusal:
        kind(**settings)
    assert fact in str(refusal.value)


def test_what_only_one_stage_accepts():
    with pytest.raises(InputError, match="batch must be at least 1"):
        gmner.MRSI(batch=0)
    with pytest.raises(InputError, match="prompts must be at least 1"):
        gmner.CVO(prompts=0)
    with pytest.raises(TypeError, match="batch"):
        gmner.CVO(batch=8)  # type: ignore[call-arg]
    assert dataclasses.replace(gmner.CVO(generations=4), prompts=3).batch == 12
    assert gmner.MRSI(tuning="none").trains is False
    with pytest.raises(InputError, match=r"trains no weights.*Accepted: auto, lora"):
        _ = gmner.MRSI(tuning="none").trained_weights
    with pytest.raises(InputError, match="Unknown tuning of CVO"):
        gmner.CVO(tuning="none")
    for stage, name in ((gmner.MRSI, "sft_options"), (gmner.CVO, "grpo_options")):
        with pytest.raises(InputError, match=f"{name} must be a mapping"):
            stage(**{name: ["table"]})
    with pytest.raises(InputError, match="styles are not a list"):
        gmner.MRSI(styles="table")  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}, {"dropout": "0"}])
def test_lora_refuses_values_out_of_range(change: dict[str, Any]):
    with pytest.raises(InputError, match=f"{next(iter(change))} must be"):
        Lora(**change)


@pytest.mark.parametrize("stage", ["mrsi", "cvo"])
def test_a_run_directory_keeps_settings_under_the_keys_that_it_always_had(stage: str):
    kept = json.loads(EARLIER.read_text(encoding="utf-8"))[stage]
    record = json.loads(json.dumps(stage_record(getattr(gmner.MCR(), stage))))
    assert record.keys() == kept.keys()
    chosen = {"styles", "demonstrations", "lora", "batch", "max_steps", "tuning"}  # by the test that made the run
    chosen |= {"generations", "prompts", "max_completion_length"}
    chosen |= {"per_post", "answers"}  # of former defaults
    assert {k: v for k, v in record.items() if k not in chosen} == {k: v for k, v in kept.items() if k not in chosen}


def test_the_record_of_demonstrations_is_flat():
    demonstrations = gmner.Demonstrations(count=3, served_count=1, sets=2, max_metric_calls=9, side=64, check="warn")
    record = stage_record(gmner.MRSI(demonstrations=demonstrations))
    assert demonstrations.to_record().items() <= record.items()
    assert record["demonstrations"] == 3


def test_two_optimizers_share_no_settings_that_can_be_changed():
    one, other = gmner.MCR(), gmner.MCR()
    one.mrsi.sft_options["report_to"] = "tensorboard"
    one.cvo.grpo_options["beta"] = 1.0
    one.cvo.weights["span"] = 9.0
    assert other.mrsi == gmner.MRSI()
    assert other.cvo == gmner.CVO()
    options = {"beta": 0.5}
    first = gmner.CVO(grpo_options=options)
    second = dataclasses.replace(first, prompts=2)
    options["beta"] = second.grpo_options["beta"] = 0.7
    assert first.grpo_options == {"beta": 0.5}


def test_mcr_is_the_settings_of_its_compile():
    names = [field.name for field in dataclasses.fields(gmner.MCR)]
    assert names == [field.name for field in dataclasses.fields(CompileSettings)]
    assert list(inspect.signature(gmner.MCR).parameters) == names
    optimizer = gmner.MCR(seed=3, cvo=None)
    assert (optimizer.settings.seed, optimizer.settings.cvo, optimizer.settings.mrsi) == (3, None, gmner.MRSI())
    optimizer.progress = False
    assert optimizer.settings.progress is False
    optimizer.d1_share = 2.0
    with pytest.raises(InputError, match="d1_share must be above 0"):
        _ = optimizer.settings


def test_unknown_options_are_refused_by_name():
    with pytest.raises(TypeError, match="'rate'"):
        gmner.MCR(rate=1e-3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'served_demonstrations'"):
        gmner.MRSI(served_demonstrations=3)  # type: ignore[call-arg]
    with pytest.raises(
        InputError, match=r"StagedGMNER does not accept.* \(got \['answer'\]\). Accepted: lm, .*temperature"
    ):
        gmner.StagedGMNER(answer=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="batch"):
        filter_by_outcome(gmner.GMNER(scripted_lm({})), gmner.World().posts("dev", 1), batch=3)  # type: ignore[call-arg]


def test_the_options_of_a_program_have_defaults_and_are_documented():
    program = gmner.GMNER(answers=3, temperature=0.2)
    assert (program.confidence, program.answers, program.temperature) == (False, 3, 0.2)
    plain = gmner.GMNER()
    assert (plain.confidence, plain.answers, plain.temperature) == (False, 1, 0.7)
    documented = " ".join((inspect.getdoc(GroundingProgram) or "").split())
    assert all(f"`{name}` (default" in documented for name in AnsweringOptions.__annotations__)
