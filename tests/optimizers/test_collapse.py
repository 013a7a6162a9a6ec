"""The end of a stage whose rewards collapse."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gmner.data.post import Post
from gmner.optimizers.cvo import CVO
from gmner.optimizers.training.collapse import Collapse, averages, collapsed
from gmner.optimizers.training.program_calls import answer_calls
from gmner.programs.gmner import GMNER


@pytest.mark.parametrize(
    ("rewards", "ends"),
    [
        ([4.0] * 9 + [0.0], False),
        ([4.0] * 10 + [0.0] * 3, False),
        ([4.0] * 10 + [0.0] * 4, True),
        ([2.0] * 10 + [4.0] * 10 + [2.0] * 7, True),
        ([2.0, 4.0] * 20, False),
        ([-1.0] * 10 + [-1.2] * 10, False),
        ([-1.0] * 10 + [-2.0] * 4, True),
        ([0.0] * 30, False),
        ([], False),
    ],
)
def test_collapse_is_a_loss_of_a_third_of_the_best_average(rewards: list[float], ends: bool):
    assert collapsed(averages(rewards)) == ends


def test_steps_without_any_reward_are_left_out(tmp_path: Path):
    rewards = [math.nan, *[4.0] * 10, math.nan, *[0.0] * 4]
    state = SimpleNamespace(
        log_history=[{"step": step, "reward": reward} for step, reward in enumerate(rewards, 1)],
        best_model_checkpoint=None, global_step=len(rewards), max_steps=40,
    )  # fmt: skip
    control = SimpleNamespace(should_training_stop=False)
    Collapse(tmp_path).on_log(SimpleNamespace(load_best_model_at_end=False), state, control)
    assert control.should_training_stop


@pytest.mark.slow
def test_a_stage_that_collapses_ends_with_the_weights_before(
    program: Callable[[str], GMNER],
    posts: list[Post],
    tmp_path: Path,
    weights: Callable[[Path], dict[str, torch.Tensor]],
    caplog: Any,
):
    calls = []

    def falling(completions: Any, **_: Any) -> list[float]:
        calls.append(completions)
        return [(1.0 if len(calls) <= 12 else 0.0) + 0.1 * (place % 2) for place in range(len(completions))]

    settings = CVO(
        rewards=[falling], max_steps=40, prompts=1, generations=2, redraws=0, max_completion_length=6, rollouts="free",
        tuning="lora", rate=1e-2,
    )  # fmt: skip
    student = program("idefics3")
    adapter = student.adapter()
    rows = settings.rows(answer_calls(posts[:2], student.answer.signature, []), adapter)
    log = settings.optimize(rows, student.model.engine, adapter, tmp_path, seed=0, progress=False)

    assert max(entry["step"] for entry in log) == 16
    assert "CVO stops after step 16 of 40" in caplog.text
    assert "checkpoint-10" in caplog.text
    ended, before = weights(tmp_path), weights(tmp_path / "checkpoint-10")
    assert ended.keys() == before.keys()
    assert all(torch.equal(ended[name], before[name]) for name in ended)
    state = json.loads((tmp_path / "checkpoint-10" / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["global_step"] == 10
