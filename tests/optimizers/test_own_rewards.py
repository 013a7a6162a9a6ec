"""User-defined rewards: accepted forms, their arguments, and failures."""

import asyncio
import functools
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gmner
from gmner.data.post import Post
from gmner.optimizers import plan
from gmner.optimizers.checked_rewards import FAILURE, checked_rewards, failed_key
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.presets import preset
from gmner.optimizers.reward_set import RewardSet, reward_record
from gmner.optimizers.rewards import DEFAULT_WEIGHTS, Reward, cvo, grounding, judged, judgements, whole_answers
from gmner.optimizers.run_page import render_run
from gmner.optimizers.training.rollouts import read_rollouts
from gmner.programs.call_column import call_column
from gmner.programs.gmner import GMNER
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError, RewardError, RunDirectoryError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import Frame

TEXT = "Ada Okoro sings in Lagos"
ANSWER = (
    '{"reasoning":"","entities":[{"span":"Ada Okoro","type":"PER","visible":false,"box":null},'
    '{"span":"Lagos","type":"LOC","visible":true,"box":[0,0,400,1000]}]}'
)
STEP = SimpleNamespace(global_step=6)
NAMES = list(DEFAULT_WEIGHTS)


def brief(completions: list[Any], **columns: Any) -> list[float]:
    """A reward of TRL's signature."""
    return [float(len(answer or "") < 900) for answer in whole_answers(completions, **columns)]


@judged
def all_found(judgement: Any) -> float | None:
    """A reward of one judged answer."""
    return float(all(finding.found for finding in judgement.findings)) if judgement.findings else None


class Ratio:
    """A reward with a setting."""

    def __init__(self, limit: int) -> None:
        self.limit, self.calls = limit, 0

    def __call__(self, completions: list[Any], **columns: Any) -> list[float]:
        self.calls += 1
        return [min(1.0, len(c) / self.limit) for c in completions]


def batch(*completions: str, **more: Any) -> dict[str, Any]:
    """What TRL passes for some completions, each of a post of its own."""
    gold = (GoldEntity("Ada Okoro", 0, 9, "PER"), GoldEntity("Lagos", 19, 24, "LOC"))
    row = gmner.rewards.reward_columns(Post("p", TEXT, entities=gold), Frame(BoxFormat(), (1000, 500)))
    columns = {name: [value] * len(completions) for name, value in row.items()}
    return {
        "completions": [[{"role": "assistant", "content": text}] for text in completions],
        "prompts": [[]] * len(completions), "post": [f"post-{n}" for n in range(len(completions))],
        "trainer_state": STEP, **columns, **more,
    }  # fmt: skip


def check(reward: Any, folder: Path) -> Any:
    """The function that TRL is given for one reward."""
    return checked_rewards(RewardSet.of([reward]), COARSE, BoxFormat(), folder)[0]


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([*cvo(), brief], {**DEFAULT_WEIGHTS, "brief": 1.0}),
        ({**DEFAULT_WEIGHTS, brief: 0.1}, {**DEFAULT_WEIGHTS, "brief": 0.1}),
        (["span", "count", all_found], {"span": 1.0, "count": 0.2, "all_found": 1.0}),
        ([("span", 2), (brief, np.float32(0.5)), "type"], {"span": 2.0, "brief": 0.5, "type": 0.5}),
        ({"span": 1, grounding(sigma=0.3): -1}, {"span": 1.0, "grounding": -1.0}),
        ((brief,), {"brief": 1.0}),
        ([Ratio(9), functools.partial(brief, limit=3)], {"Ratio": 1.0, "brief": 1.0}),
        ({"count": 0.0}, {"count": 0.0}),
    ],
)
def test_accepted_forms_of_rewards(rewards: Any, expected: dict[str, float]):
    chosen = CVO(rewards=rewards).reward_set
    assert dict(chosen.weights) == expected
    assert list(chosen.functions) == list(chosen.weights)
    assert list(replace(preset("tiny").cvo, rewards=rewards).reward_set.weights) == list(expected)


def test_default_rewards():
    assert dict(CVO().reward_set.weights) == dict(DEFAULT_WEIGHTS)
    assert CVO().rewards == gmner.rewards.cvo()
    assert CVO(rewards=cvo()) == CVO()
    assert CVO().reward_set.to_record() == {"weights": dict(DEFAULT_WEIGHTS), "sigma": 0.5, "soft": True}


def lacks_columns(completions: list[Any]) -> list[float]:
    return [0.0] * len(completions)


def wants_a_solution(completions: list[Any], solution: list[str], **columns: Any) -> list[float]:
    return [0.0] * len(completions)


def advantage(completions: list[Any], **columns: Any) -> list[float]:
    return [0.0] * len(completions)


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        (["spam"], r"Unknown reward.*'spam'.*count, span, type, grounding, entailment"),
        ([lambda completions, **columns: [0.0]], "needs a name.*<lambda>.*def"),
        ([3], "must be callable"),
        ([None], "must be callable"),
        ([Ratio], "A class is not a reward; pass an instance"),
        ([lacks_columns], r"cannot call the reward 'lacks_columns'.*\*\*columns"),
        ([all_found.function], r"cannot call the reward 'all_found'.*gmner\.rewards\.judged"),
        ([wants_a_solution], "'wants_a_solution' has parameters that CVO does not pass.*solution"),
        ([advantage], "name of a column of the rollouts.*advantage"),
        (["span", "span"], "same name.*span"),
        ([brief, functools.partial(brief)], "same name.*brief"),
        ([*cvo(), grounding(0.3)], "same name.*grounding"),
        ([], "at least one reward"),
        ({}, "at least one reward"),
        ("span", "rewards must be a list or a mapping"),
        (brief, "rewards must be a list or a mapping"),
        ({"span": math.nan}, "weight of the reward 'span' is not a finite number"),
        ({brief: math.inf}, "weight of the reward 'brief' is not a finite number"),
        ([("span", "1")], "weight of the reward 'span' is not a finite number"),
        ({"span": True}, "weight of the reward 'span' is not a finite number"),
        ({"span": None, "type": math.nan}, "weight of the reward 'type'"),
    ],
)
def test_invalid_rewards_are_refused(rewards: Any, said: str):
    with pytest.raises(InputError, match=said):
        CVO(rewards=rewards)


def test_reward_model_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="A reward model cannot be a reward"):
        CVO(rewards=[torch.nn.Linear(1, 1)])


def test_deprecated_arguments_still_work():
    weights = dict.fromkeys(NAMES, 0.5)
    with pytest.warns(DeprecationWarning, match=r"CVO\(weights=..., sigma=...\) is deprecated") as warned:
        old = CVO(weights=weights, sigma=0.7)
    assert warned[0].filename == __file__
    new = CVO(rewards={"count": 0.5, "span": 0.5, "type": 0.5, grounding(sigma=0.7): 0.5, "entailment": 0.5})
    assert old.reward_set.to_record() == new.reward_set.to_record()
    with pytest.raises(InputError, match="CVO accepts sigma with the default rewards only"):
        CVO(rewards=["span", "grounding"], sigma=0.7)
    with pytest.raises(InputError, match="not a finite number"), pytest.warns(DeprecationWarning, match="weights"):
        CVO(weights={**weights, "span": math.nan})


def test_registered_reward_is_found_by_name():
    @gmner.rewards.register
    def registered_from_outside(completions: list[Any], **columns: Any) -> list[float]:
        return [1.0] * len(completions)

    chosen = CVO(rewards=["span", "registered_from_outside"]).reward_set
    assert chosen.functions["registered_from_outside"] is registered_from_outside
    with pytest.raises(InputError, match="registered_from_outside"):
        CVO(rewards=["spam"])
    assert gmner.rewards.register(registered_from_outside) is registered_from_outside

    def other() -> Callable[..., list[float]]:
        def registered_from_outside(completions: list[Any], **columns: Any) -> list[float]:
            return [0.0] * len(completions)

        return registered_from_outside

    with pytest.raises(InputError, match="Another reward is registered under this name"):
        gmner.rewards.register(other())

    def span(completions: list[Any], **columns: Any) -> list[float]:
        return [0.0] * len(completions)

    with pytest.raises(InputError, match="Another reward is registered under this name"):
        gmner.rewards.register(span)
    gmner.rewards.unregister("registered_from_outside")
    with pytest.raises(InputError, match="No reward was registered under this name"):
        gmner.rewards.unregister("registered_from_outside")
    with pytest.raises(InputError, match="Unknown reward"):
        CVO(rewards=["registered_from_outside"])


async def awaited(completions: list[Any], **columns: Any) -> list[float]:
    await asyncio.sleep(0)
    return [0.5] * len(completions)


def test_arguments_and_results_of_rewards(tmp_path: Path):
    rows = batch(ANSWER, "not JSON")
    assert check(brief, tmp_path)(**rows) == [1.0, 1.0]
    assert check(all_found, tmp_path)(**rows) == [1.0, 0.0]
    assert all_found(**rows) == [1.0, 0.0]  # in a trainer of one's own
    assert all_found.score(None) == 0.0
    assert asyncio.run(check(awaited, tmp_path)(**rows)) == [0.5, 0.5]
    seen: dict[str, Any] = {}

    def sees(completions: list[Any], gold: list[str], **columns: Any) -> Any:
        seen.update(columns)
        return np.array([0.5, 1])

    assert check(sees, tmp_path)(**rows) == [0.5, 1.0]
    assert {"prompts", "post", "post_text", "size", "resized", "labels", "box_format", "trainer_state"} <= set(seen)
    assert seen["labels"] is COARSE
    assert check(sees, tmp_path).__name__ == "sees"


def test_rewards_get_labels_and_box_format_of_the_program(tmp_path: Path):
    labels, box_format = LabelSet(("singer", "town")), BoxFormat(scale=100)
    text = ANSWER.replace("PER", "singer").replace("LOC", "town").replace("[0,0,400,1000]", "[0,0,40,100]")

    def counted(completions: list[Any], **columns: Any) -> list[float | None]:
        return [None if found is None else found.n_pred for found in judgements(completions, **columns)]

    functions = checked_rewards(RewardSet.of(["span", all_found, counted]), labels, box_format, tmp_path)
    assert [function(**batch(text, ANSWER)) for function in functions] == [[1.0, 0.0], [1.0, 0.0], [2.0, None]]
    for given, said in (
        (Reward("span", labels=LabelSet(("singer",))), "labels of the reward 'span' must be the program's"),
        (Reward("span", box_format=BoxFormat("resized")), "box_format of the reward 'span' must be the program's"),
        (replace(all_found, labels=LabelSet(("singer",))), "labels of the reward 'all_found' must be"),
    ):
        with pytest.raises(InputError, match=said):
            RewardSet.of([given]).bound(labels, box_format)
    assert RewardSet.of([Reward("span", labels=labels)]).bound(labels, box_format).functions["span"].labels is labels


def test_call_of_a_staged_program_is_judged_as_a_whole_answer(tmp_path: Path):
    known = [
        {"span": "Ada Okoro", "type": "PER", "start": 0, "end": 9, "visible": False, "box": None},
        {"span": "Lagos", "type": "LOC", "start": 19, "end": 24, "visible": True, "box": [0, 0, 400, 1000]},
    ]
    said = ['{"evidence":"","visible":true}', "not JSON"]
    rows = batch(*said, call=[call_column("verify", 1, known, 2)] * 2)
    assert whole_answers(**rows) == [ANSWER, None]
    assert check(all_found, tmp_path)(**rows) == [1.0, 0.0]
    assert check("span", tmp_path)(**rows) == [1.0, 0.0]


def raises(completions: list[Any], **columns: Any) -> list[float]:
    raise ZeroDivisionError("division by zero")


@judged
def raises_for_one(judgement: Any) -> float:
    return 1.0 / (2 - judgement.n_pred)


def returning(value: Any) -> Callable[..., Any]:
    def returns(completions: list[Any], **columns: Any) -> Any:
        return value

    return returns


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (raises, r"'raises' raised ZeroDivisionError: division by zero \(step 7, posts post-0, post-1\)"),
        (raises_for_one, r"'raises_for_one' raised ZeroDivisionError: .* \(step 7, post post-1\)"),
        (returning([1.0]), r"'returns' returned 1 scores for 2 completions \(step 7, posts post-0, post-1\)"),
        (returning([1.0] * 3), "returned 3 scores for 2 completions"),
        (returning([0.0, math.nan]), r"'returns' returned nan \(step 7, post post-1\)"),
        (returning([math.inf, 0.0]), r"returned inf \(step 7, post post-0\)"),
        (returning(["1", 0.0]), r"returned '1' \(step 7, post post-0\)"),
        (returning([[1.0], 0.0]), r"returned \[1.0\] \(step 7, post post-0\)"),
        (returning(None), "did not return a list"),
        (returning(1.0), "did not return a list"),
        (returning({"a": 1.0, "b": 2.0}), "did not return a list"),
    ],
)
def test_failing_reward_is_reported_with_step_and_posts(reward: Any, said: str, tmp_path: Path):
    function = check(reward, tmp_path)
    with pytest.raises(RewardError, match=said) as raised:
        function(**batch('{"reasoning":"","entities":[]}', ANSWER))
    assert "same run_dir" in str(raised.value)
    assert failed_key(tmp_path.parent) == []
    assert json.loads((tmp_path / FAILURE).read_text())["reward"] == function.__name__


def test_failing_async_reward_is_reported(tmp_path: Path):
    async def fails(completions: list[Any], **columns: Any) -> list[float]:
        raise OSError("no server")

    with pytest.raises(RewardError, match=r"'fails' raised OSError: no server \(step 7, post post-0\)") as raised:
        asyncio.run(check(fails, tmp_path)(**batch(ANSWER)))
    assert isinstance(raised.value.__cause__, OSError)


@pytest.mark.parametrize("function", [lambda judgement: 1.0, brief, Ratio, 3, awaited, lambda: 1.0])
def test_judged_refuses_other_functions(function: Any):
    with pytest.raises(InputError, match=r"def name\(judgement\)"):
        judged(function)


def limited(limit: int) -> Callable[..., list[float]]:
    def short(completions: list[Any], **columns: Any) -> list[float]:
        return [float(len(completion) < limit) for completion in completions]

    return short


@dataclass(frozen=True)
class Scaled:
    factor: float

    def __call__(self, completions: list[Any], **columns: Any) -> list[float]:
        return [self.factor] * len(completions)


def test_record_of_a_reward_in_a_run():
    record = reward_record(brief)
    assert record["from"].endswith("test_own_rewards.brief")
    assert len(record["source"]) == 12
    assert reward_record(limited(3)) == reward_record(limited(3))
    assert reward_record(limited(3)) != reward_record(limited(4))
    assert reward_record(Scaled(0.5)) != reward_record(Scaled(0.6))
    assert reward_record(functools.partial(brief, limit=1))["settings"]["limit"] == 1
    assert reward_record(all_found)["from"].endswith("test_own_rewards.all_found")
    namespace: dict[str, Any] = {}
    exec("def typed(completions, **columns):\n    return [0.0]", namespace)
    assert reward_record(namespace["typed"])["source"] is None
    used = Ratio(9)
    chosen = RewardSet.of([used])
    used(["a"])
    assert chosen.own["Ratio"]["settings"] == {"calls": 0, "limit": 9}
    assert json.loads(json.dumps(chosen.own)) == chosen.own


Programs = Callable[[str], GMNER]


@pytest.mark.e2e
def test_compile_with_user_defined_rewards(
    program: Programs,
    posts: list[Post],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    failing = [True]

    def fails_once(completions: list[Any], log_extra: Any, trainer_state: Any, **columns: Any) -> list[float | None]:
        log_extra("noted", [0.25] * len(completions))
        if failing[0] and trainer_state.global_step == 1:
            raise OSError("no server")
        return [None, *[0.5] * (len(completions) - 1)]

    def optimizer(*rewards: Any) -> MCR:
        settings = CVO(
            max_steps=2, prompts=2, generations=2, redraws=0, max_completion_length=400, tuning="full",
            rewards=rewards, grpo_options={"save_steps": 1},
        )  # fmt: skip
        return MCR(mrsi=None, cvo=settings, progress=False)

    chosen, student, run = [("span", 0.5), all_found, fails_once], program("idefics3"), tmp_path / "run"
    with pytest.raises(RewardError, match=r"'fails_once' raised OSError: no server \(step 2, posts train-"):
        student.compile(trainset=posts[:4], optimizer=optimizer(*chosen), run_dir=run)
    assert failed_key(run) == ["reward.fails_once"]
    failing[0] = False
    with pytest.raises(RunDirectoryError, match=r"cvo\.weights\.brief: not set before, .*; reward\.brief: not set"):
        student.compile(trainset=posts[:4], optimizer=optimizer(*chosen, brief), run_dir=run)
    better = student.compile(trainset=posts[:4], optimizer=optimizer(*chosen), run_dir=run)

    names = ["span", "all_found", "fails_once"]
    log = [entry for entry in better.history.log["cvo"] if "reward" in entry]
    assert [entry["step"] for entry in log] == [1, 2]
    assert all({f"rewards/{name}/mean" for name in names} <= entry.keys() for entry in log)
    rollouts = read_rollouts(run / "cvo")
    assert {tuple(rollout.rewards) for rollout in rollouts} == {tuple(names)}
    assert [r.rewards["fails_once"] for r in rollouts] == [None, 0.5, 0.5, 0.5] * 2
    assert "fails_once 0.50" in (run / "cvo" / "rollouts.html").read_text(encoding="utf-8")
    page = render_run(run)
    for shown in ("all_found 1, fails_once 1, span 0.5", "reward fails_once", "test_own_rewards"):
        assert shown in page
    assert "reward all_found" in (run / "cvo" / "curves.svg").read_text(encoding="utf-8")
    monkeypatch.setattr(plan, "_of_cvo", lambda *_: plan.StagePlan("cvo", 4, 8, 2, 1e-5, 100, 1.0))
    student.compile(trainset=posts[:4], optimizer=optimizer(*chosen), dry_run=True)
    assert "rewards: span 0.5, all_found 1, fails_once 1" in capsys.readouterr().out


def test_changed_reward_is_refused_unless_it_stopped_the_run(
    program: Programs, posts: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
):
    def compiled(reward: Any) -> Any:
        settings = CVO(max_steps=1, rewards=["span", reward])
        return program("idefics3").compile(
            trainset=posts[:4], optimizer=MCR(mrsi=None, cvo=settings, progress=False), run_dir=tmp_path
        )

    monkeypatch.setattr(CVO, "optimize", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compiled(limited(3))
    with pytest.raises(RunDirectoryError, match=r"reward\.short\.settings\.limit: 3 before, 4 now"):
        compiled(limited(4))
    (tmp_path / "cvo" / FAILURE).write_text('{"reward": "short"}')
    with pytest.raises(KeyboardInterrupt):
        compiled(limited(4))
    assert "The reward short stopped the run" in caplog.text
    (tmp_path / "cvo" / FAILURE).unlink()  # as training does when it begins
    with pytest.raises(RunDirectoryError, match=r"reward\.short\.settings\.limit: 4 before, 3 now"):
        compiled(limited(3))


def test_rewards_with_other_labels_are_refused_first(program: Programs, posts: list[Post], tmp_path: Path):
    settings = CVO(rewards=cvo(labels=LabelSet(("singer",))))
    with pytest.raises(InputError, match=r"labels of the reward .* must be the program's"):
        program("idefics3").compile(
            trainset=posts[:4], optimizer=MCR(mrsi=None, cvo=settings, progress=False), run_dir=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_code_of_the_how_to_runs():
    page = (Path(gmner.__file__).parent / "docs" / "howto" / "own-reward.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page.split("\n## When a reward fails")[0], re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 3
    assert dict(names["optimizer"].cvo.reward_set.weights) == {**DEFAULT_WEIGHTS, "all_found": 1.0}
    assert names["all_found"](**batch(ANSWER, "not JSON", '{"reasoning":"","entities":[]}')) == [1.0, 0.0, 0.0]
    assert names["brief"](**batch(ANSWER, "long" * 201)) == [1.0, 0.0]
