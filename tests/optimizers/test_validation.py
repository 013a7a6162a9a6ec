"""Validation during training: the best weights are kept, falling scores end a stage, and the time limit."""

import dataclasses
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiers import daily
from transformers import TrainerControl, TrainerState
from worlds import drawn

from gmner.data.post import Post
from gmner.optimizers import compilation
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training import validation as watch
from gmner.optimizers.training.process_group import ProcessGroup
from gmner.optimizers.training.validation import METRIC, Deadline, ValidationMonitor, resolve_every
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError

Programs = Callable[[str], GMNER]
Weights = Callable[[Path], dict[str, torch.Tensor]]

INJECT: dict[str, Any] = {"max_steps": 6, "batch": 2, "validate_every": 1, "patience": 2}
OPTIMIZE: dict[str, Any] = {
    "max_steps": 2, "prompts": 2, "generations": 4, "max_completion_length": 400, "rollouts": "constrained",
    "redraws": 0,
}  # fmt: skip


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], list[Any]]:
    """Makes evaluations return these scores in turn, repeating the last one; collects the evaluated answers."""

    def script(figures: list[float]) -> list[Any]:
        real, seen = compilation.evaluate, list[Any]()

        def evaluate(answers: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(answers)
            found = real(answers, *args, **kwargs)
            scores_by_step = figures[min(len(seen), len(figures)) - 1]
            return dataclasses.replace(found, gmner=dataclasses.replace(found.gmner, correct=0, f1=scores_by_step))

        monkeypatch.setattr(compilation, "evaluate", evaluate)
        return seen

    return script


def scores_by_step(log: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(entry["step"], entry["eval_gmner_f1"]) for entry in log if "eval_gmner_f1" in entry]


LORA = ("qwen2_5_vl", "lora-frozen-vision")
TUNED = daily([("idefics3", "full"), LORA], LORA)  # full tuning: also in the test of an interruption


@pytest.mark.slow
@pytest.mark.parametrize(("family", "tuning"), TUNED)
def test_falling_score_ends_the_stage_with_its_best_weights(
    program: Programs, posts: list[Post], tmp_path: Path, weights: Weights, scored: Any, family: str, tuning: str
):
    seen = scored([1.0, 10.0, 30.0, 20.0, 25.0, 30.0])  # before, four steps, after
    student = program(family)
    optimizer = MCR(mrsi=MRSI(**INJECT, tuning=tuning), cvo=None, progress=False)
    better = student.compile(trainset=posts[:6], valset=drawn("dev", 2), optimizer=optimizer, run_dir=tmp_path)
    assert scores_by_step(better.history.log["mrsi"]) == [(1, 10.0), (2, 30.0), (3, 20.0), (4, 25.0)]
    assert len(seen) == 6
    assert all(answer.error is None for answers in seen for answer in answers)
    kept, best = weights(tmp_path / "mrsi"), weights(tmp_path / "mrsi" / "checkpoint-2")
    assert all(torch.equal(value, best[name]) for name, value in kept.items())
    last = weights(tmp_path / "mrsi" / "checkpoint-4")
    assert any(not torch.equal(value, last[name]) for name, value in kept.items())


@pytest.mark.slow
def test_validation_of_cvo_uses_the_current_weights(
    program: Programs, posts: list[Post], tmp_path: Path, scored: Any, monkeypatch: pytest.MonkeyPatch
):
    for name, value in {"_AUTO_LEAST_POSTS": 2, "_AUTO_LEAST_STEPS": 1, "_AUTO_SCORINGS": 2}.items():
        monkeypatch.setattr(watch, name, value)
    seen = scored([0.0, 1.0, 2.0, 2.0])  # before, steps 1 and 2, after: the best is the last
    optimizer = MCR(mrsi=None, cvo=CVO(**OPTIMIZE, tuning="full", rate=1e-2), progress=False)
    better = program("idefics3").compile(
        trainset=posts[:4], valset=drawn("dev", 2), optimizer=optimizer, run_dir=tmp_path / "run"
    )
    answers = [[answer.entities for answer in each] for each in seen]
    assert answers[2] == answers[3] != answers[0]
    assert scores_by_step(better.history.log["cvo"]) == [(1, 1.0), (2, 2.0)]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["cvo"]["validate_every"] == "auto"


@pytest.mark.slow
def test_validation_does_not_change_training(program: Programs, posts: list[Post], scored: Any):
    scored([1.0, 2.0, 3.0, 4.0, 5.0])
    losses = []
    for every in (None, 1):
        mrsi = MRSI(**{**INJECT, "max_steps": 3, "validate_every": every}, sft_options={"logging_steps": 1})
        better = program("idefics3").compile(
            trainset=posts[:6], valset=drawn("dev", 2), optimizer=MCR(mrsi=mrsi, cvo=None, progress=False)
        )
        losses.append([entry["loss"] for entry in better.history.log["mrsi"] if "loss" in entry])
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_validation_resumes_after_an_interruption(
    program: Programs,
    posts: list[Post],
    tmp_path: Path,
    scored: Any,
    weights: Weights,
    monkeypatch: pytest.MonkeyPatch,
):
    figures = [1.0, 10.0, 30.0, 20.0, 25.0, 30.0]
    seen = scored(figures)
    score = compilation.evaluate

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if len(seen) == 4:  # the fifth evaluation: step 4, the second in a row without an improvement
            raise KeyboardInterrupt
        return score(*args, **kwargs)

    def compile() -> GMNER:
        return program("idefics3").compile(
            trainset=posts[:6], valset=drawn("dev", 2), run_dir=tmp_path,
            optimizer=MCR(mrsi=MRSI(**INJECT), cvo=None, progress=False),
        )  # fmt: skip

    monkeypatch.setattr(compilation, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compile()
    monkeypatch.setattr(compilation, "evaluate", score)
    figures[:] = [0.0] * 4 + [1.0, 25.0, 30.0]  # four were recorded: before again, then step 4, after
    better = compile()
    assert scores_by_step(better.history.log["mrsi"]) == [(1, 10.0), (2, 30.0), (3, 20.0), (4, 25.0)]
    kept, best = weights(tmp_path / "mrsi"), weights(tmp_path / "mrsi" / "checkpoint-2")
    assert all(torch.equal(value, best[name]) for name, value in kept.items())


@pytest.mark.slow
def test_time_limit_stops_the_compile_and_it_resumes(
    program: Programs, posts: list[Post], tmp_path: Path, caplog: pytest.LogCaptureFixture, weights: Weights
):
    rollouts = {**OPTIMIZE, "validate_every": None, "max_steps": 1, "generations": 2}
    stages = {"mrsi": MRSI(max_steps=3, batch=2), "cvo": CVO(**rollouts)}

    def compile(minutes: float | None, folder: Path) -> GMNER:
        optimizer = MCR(**stages, max_minutes=minutes, progress=False)
        return program("idefics3").compile(trainset=posts[:6], optimizer=optimizer, run_dir=folder)

    with caplog.at_level(logging.WARNING):
        first = compile(1e-6, tmp_path / "cut")
    assert "minutes, in stage mrsi; the program has the weights of its last step" in caplog.text
    assert list(first.history.programs) == ["before", "mrsi"]
    assert first.model.model != first.history.programs["before"].model.model
    assert json.loads((tmp_path / "cut" / "mrsi" / "checkpoint-1" / "trainer_state.json").read_text())["max_steps"] == 3
    assert not (tmp_path / "cut" / "mrsi" / "done.json").exists()

    whole, unbroken = compile(None, tmp_path / "cut"), compile(None, tmp_path / "unbroken")
    assert list(whole.history.programs) == ["before", "mrsi", "cvo"]
    assert whole.history.chosen == unbroken.history.chosen == "cvo"
    for stage in ("mrsi", "cvo"):
        one, other = weights(tmp_path / "cut" / stage), weights(tmp_path / "unbroken" / stage)
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_deadline_after_the_last_step():
    deadline, control = Deadline(1e-9, ProcessGroup()), TrainerControl()
    deadline.on_step_end(None, TrainerState(global_step=5, max_steps=5), control)
    assert not deadline.stopped
    deadline.on_step_end(None, TrainerState(global_step=4, max_steps=5), control)
    assert deadline.stopped
    assert control.should_training_stop
    assert control.should_save


@pytest.mark.parametrize(
    ("every", "steps", "posts", "wanted"),
    [("auto", 225, 100, 29), ("auto", 40, 100, 10), ("auto", 40, 49, None), (7, 40, 16, 7), (None, 225, 100, None)],
)
def test_validation_interval(every: Any, steps: int, posts: int, wanted: int | None):
    assert resolve_every(every, steps, posts) == wanted


@pytest.mark.parametrize("settings", [{"validate_every": 0}, {"validate_every": "often"}, {"patience": 0}])
@pytest.mark.parametrize("stage", [MRSI, CVO])
def test_invalid_validation_settings_are_refused(stage: Any, settings: dict[str, int]):
    with pytest.raises(InputError, match=next(iter(settings))):
        stage(**settings)


@pytest.mark.parametrize("minutes", [0, -1.0, math.nan])
def test_invalid_minutes_are_refused(minutes: float):
    with pytest.raises(InputError, match="max_minutes"):
        MCR(max_minutes=minutes)


def test_validation_without_a_valset_is_refused_first(program: Programs, posts: list[Post], tmp_path: Path):
    optimizer = MCR(mrsi=MRSI(**INJECT), cvo=None, progress=False)
    with pytest.raises(InputError, match="requires a validation set"):
        program("idefics3").compile(trainset=posts[:4], optimizer=optimizer, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nan_score_is_never_the_best():
    told: list[dict[str, float]] = []
    handler = SimpleNamespace(on_evaluate=lambda args, state, control, figures: told.append(figures))
    trainer: Any = SimpleNamespace(
        model=None, args=None, state=None, control=None, callback_handler=handler, log=lambda _: None,
        add_callback=lambda _: None,
    )  # fmt: skip
    scores = iter([float("nan"), 12.0])
    ValidationMonitor(score=lambda _: {METRIC: next(scores)}, every=1).attach(trainer)
    assert [trainer.evaluate()[f"eval_{METRIC}"] for _ in range(2)] == [float("-inf"), 12.0]
    assert told[1][f"eval_{METRIC}"] > told[0][f"eval_{METRIC}"]
