"""CVO: rollouts under each post's grammar, five named rewards, and failing rewards."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiers import daily

from gmner.data.post import Post
from gmner.optimizers.cvo import CVO
from gmner.optimizers.rewards import DEFAULT_WEIGHTS, Reward
from gmner.optimizers.training import grpo as grpo_module
from gmner.optimizers.training.program_calls import answer_calls
from gmner.programs.engine.decoding import Decoding
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import AnswerError, InputError, RewardError
from gmner.signatures.wire import Frame, parse_answer

pytestmark = pytest.mark.slow

Programs = Callable[[str], GMNER]
Weights = Callable[[Path], dict[str, torch.Tensor]]
NAMES = ["count", "span", "type", "grounding", "entailment"]


def cvo(**options: Any) -> CVO:
    usual = {
        "max_steps": 2,
        "prompts": 2,
        "generations": 2,
        "max_completion_length": 400,
        "tuning": "lora",
        "redraws": 0,
    }
    return CVO(**{**usual, "rollouts": "constrained", "rate": 1e-2, **options})


def optimize(settings: CVO, program: GMNER, posts: list[Post], folder: Path) -> list[dict[str, Any]]:
    adapter = program.adapter()
    rows = settings.rows(answer_calls(posts, program.answer.signature, []), adapter)
    return settings.optimize(rows, program.model.engine, adapter, folder, seed=0, progress=False)


def keep_answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Collects (post, answer) of every rollout that the rewards get from now on."""
    seen: list[tuple[str, str]] = []
    score = Reward.__call__

    def kept(self: Reward, completions: Any, post_text: Any, *args: Any, **kwargs: Any) -> Any:
        if self.name == "count":
            seen.extend(zip(post_text, [c[-1]["content"] for c in completions], strict=True))
        return score(self, completions, post_text, *args, **kwargs)

    monkeypatch.setattr(Reward, "__call__", kept)
    return seen


@pytest.mark.parametrize("family", daily(["idefics3", "qwen2_5_vl", "internvl"], "qwen2_5_vl"))
def test_constrained_rollouts_are_valid_and_change_the_adapter(
    program: Programs, posts: list[Post], tmp_path: Path, weights: Weights, monkeypatch: Any, family: str
):
    student, seen = program(family), keep_answers(monkeypatch)
    log = optimize(cvo(generations=4), student, posts[:6], tmp_path)
    steps = [entry for entry in log if "reward" in entry]
    assert [entry["step"] for entry in steps] == [1, 2]
    assert all({f"rewards/{name}/mean" for name in NAMES} <= entry.keys() for entry in steps)
    assert all(entry["completions/clipped_ratio"] == 0 for entry in steps)
    assert len(seen) == 16
    sizes = {post.text: post.image.size for post in posts}
    for text, answer in seen:
        frame = Frame(student.adapter().profile.box_format, sizes[text], student.adapter().profile.resized(sizes[text]))
        parsed = parse_answer(answer, text, student.labels, frame, reorder=True)  # the grammar allows reversed corners
        assert len(parsed.entities) <= student.limits.entities
        assert len(parsed.reasoning) <= student.limits.reasoning
    assert any(entry["reward_std"] > 0 for entry in steps)  # otherwise there is nothing to learn
    assert any(value.abs().max() > 0 for name, value in weights(tmp_path).items() if "lora_B" in name)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Collects (prompts, answers) of every batch that our decoding loop generates from now on."""
    seen: list[tuple[int, int]] = []

    class Seen(Decoding):
        def __call__(self, model: Any, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            written = super().__call__(model, input_ids, *args, **kwargs)
            seen.append((len(input_ids), len(written)))
            return written

    monkeypatch.setattr(grpo_module, "Decoding", Seen)
    return seen


@pytest.mark.parametrize("rollouts", ["free", "constrained"])
def test_rollouts_prefill_each_prompt_once(
    program: Programs, posts: list[Post], tmp_path: Path, read: list[tuple[int, int]], rollouts: Any
):
    mixed = [*posts[:2], replace(posts[2], image=None)]
    settings = cvo(generations=4, rollouts=rollouts, max_steps=1, prompts=3)
    settings = settings if rollouts == "constrained" else replace(settings, max_completion_length=12)
    optimize(settings, program("idefics3"), mixed, tmp_path)
    assert read == [(3, 12)]


def test_groups_with_equal_rewards_are_resampled(
    program: Programs, posts: list[Post], tmp_path: Path, monkeypatch: Any
):
    dull = {post.text for post in posts[:4]}

    def dulled(self: Reward, completions: Any, post_text: Any, *args: Any, **kwargs: Any) -> Any:
        return [0.5 if text in dull else place % 2 for place, text in enumerate(post_text)]

    monkeypatch.setattr(Reward, "__call__", dulled)
    settings = cvo(max_steps=1, prompts=4, redraws=4, grpo_options={"shuffle_dataset": False})
    log = optimize(settings, program("idefics3"), posts[:9], tmp_path)[0]
    assert log["groups/used"] == 4
    assert log["groups/drawn"] >= 8
    assert log["frac_reward_zero_std"] == 0
    table = pd.read_parquet(next((tmp_path / "completions").glob("*.parquet")))
    assert len(table) == 8
    assert set(table["post"]) <= {post.id for post in posts[4:9]}


@pytest.mark.parametrize("shared", ["is_deepspeed_zero3_enabled", "is_fsdp_managed_module"])
def test_processes_that_share_weights_take_the_same_steps(
    program: Programs, posts: list[Post], tmp_path: Path, read: list[tuple[int, int]], monkeypatch: Any, shared: str
):
    monkeypatch.setattr(grpo_module, shared, lambda *_: True)
    optimize(cvo(max_steps=1), program("idefics3"), posts[:2], tmp_path)
    assert read == []


def test_static_cache_uses_transformers(
    program: Programs, posts: list[Post], tmp_path: Path, read: list[tuple[int, int]]
):
    options = {"cache_implementation": "static"}
    optimize(cvo(max_steps=1, grpo_options=options), program("idefics3"), posts[:2], tmp_path)
    assert read == []


def test_free_rollouts_of_a_random_model_get_no_reward(
    program: Programs, posts: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = keep_answers(monkeypatch)
    log = optimize(cvo(rollouts="free", max_completion_length=12), program("qwen2_5_vl"), posts[:4], tmp_path)
    steps = [entry for entry in log if "reward" in entry]
    assert [entry["reward"] for entry in steps] == [0.0, 0.0]
    assert all(entry["rewards/span/mean"] == 0 for entry in steps)
    with pytest.raises(AnswerError):
        parse_answer(seen[0][1], seen[0][0], program("idefics3").labels, Frame(CVO_FRAME, (256, 256)))


CVO_FRAME = Reward("count").box_format


def test_equal_configurations_give_equal_losses(program: Programs, posts: list[Post], tmp_path: Path):
    logs = [optimize(cvo(), program("idefics3"), posts[:4], tmp_path / name) for name in ("one", "two")]
    one, two = ([entry["loss"] for entry in log if "loss" in entry] for log in logs)
    assert one == two
    assert len(one) == 2


@pytest.mark.parametrize("family", daily(["idefics3", "internvl"], "internvl"))
def test_step_in_micro_batches(
    program: Programs, posts: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
):
    seen = keep_answers(monkeypatch)
    settings = cvo(prompts=2, generations=4, micro_batch=2, max_steps=2)
    log = optimize(settings, program(family), posts[:4], tmp_path)
    assert [entry["step"] for entry in log if "reward" in entry] == [1, 2]
    assert len(seen) == 16
    assert [len({text for text, _ in seen[begin : begin + 8]}) for begin in (0, 8)] == [2, 2]


def test_exception_in_a_reward_stops_the_training(
    program: Programs, posts: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(self: Reward, judgement: Any) -> float:
        if self.name == "type":
            raise ZeroDivisionError("a broken verifier")
        return 0.0

    monkeypatch.setattr(Reward, "score", broken)
    stopped = r"'type' raised ZeroDivisionError: a broken verifier \(step 1, posts train-\d+, train-\d+\)"
    with pytest.raises(RewardError, match=stopped) as raised:
        optimize(cvo(), program("idefics3"), posts[:4], tmp_path)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert not (tmp_path / "adapter_model.safetensors").exists()


def test_weights_are_assigned_by_name(
    program: Programs, posts: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paid = {"count": 0.5, "span": 0.25, "type": 0.125, "grounding": 1.0, "entailment": 0.75}
    monkeypatch.setattr(Reward, "score", lambda self, judgement: paid[self.name])
    weights = {"entailment": 16.0, "type": 4.0, "count": 1.0, "grounding": 8.0, "span": 2.0}  # in another order
    log = optimize(cvo(weights=weights, max_steps=1), program("idefics3"), posts[:4], tmp_path)
    assert log[0]["reward"] == pytest.approx(sum(weights[name] * paid[name] for name in NAMES))
    assert {name: log[0][f"rewards/{name}/mean"] for name in NAMES} == pytest.approx(paid)


def test_zero_weights_change_nothing(
    program: Programs, posts: list[Post], tmp_path: Path, tiny: Callable[[str], Path], weights: Weights
):
    settings = cvo(weights=dict.fromkeys(NAMES, 0.0), tuning="full", max_steps=1)
    optimize(settings, program("idefics3"), posts[:4], tmp_path)
    before, after = load_file(tiny("idefics3") / "model.safetensors"), weights(tmp_path)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_fewer_prompts_than_a_batch(program: Programs, posts: list[Post], tmp_path: Path):
    log = optimize(cvo(prompts=8, max_steps=1), program("idefics3"), posts[:3], tmp_path)
    assert [entry["step"] for entry in log if "reward" in entry] == [1]


def test_columns_of_rows(program: Programs, posts: list[Post]):
    student = program("idefics3")
    calls = answer_calls(posts[:4], student.answer.signature, [])
    rows = cvo().rows(calls, student.adapter())
    assert set(rows.column_names) == {"prompt", "images", "post", "post_text", "gold", "size", "resized", "schema"}
    assert "schema" not in cvo(rollouts="free").rows(calls, student.adapter())[0]
    for row, post in zip(rows, posts, strict=False):
        assert [entity["span"] for entity in json.loads(row["gold"])] == [gold.span for gold in post.gold]
        spans = json.loads(row["schema"])["properties"]["entities"]["items"]["anyOf"][0]["properties"]["span"]["enum"]
        assert {gold.span for gold in post.gold} <= set(spans)


def test_perfect_answer_gets_every_applicable_reward(program: Programs, posts: list[Post]):
    student = program("idefics3")
    adapter, signature = student.adapter(), student.answer.signature
    rows = cvo().rows(answer_calls(posts, signature, []), adapter)
    answers = [
        adapter.answer(signature, {"text": post.text, "image": post.image, "reasoning": "", "entities": post.gold})
        for post in posts
    ]
    columns = {name: rows[name] for name in ("post_text", "gold", "size", "resized")}
    for name in NAMES:
        scores = Reward(name)(completions=answers, **columns)
        assert all(score is None or score > (0.9 if name == "grounding" else 0.999) for score in scores)
        assert sum(score is not None for score in scores) >= len(posts) // 3


def test_refusals():
    with pytest.raises(InputError, match="weights must name the five default rewards"):
        CVO(weights={"count": 1.0})
    with pytest.raises(InputError, match="compares the answers"):
        CVO(generations=1)
    with pytest.raises(InputError, match="redraws must not be negative"):
        CVO(redraws=-1)
    with pytest.raises(InputError, match="least_steps must not be negative"):
        CVO(least_steps=-1)
    assert list(DEFAULT_WEIGHTS) == NAMES
