"""The plan of a compile: its steps and costs."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dspy
import pytest
import torch
from scripted import scripted_lm

from gmner.data.post import Post
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.chains.styles.model_written import LLMStyle
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.outcome import UnchangedProgramWarning
from gmner.optimizers.plan import Plan, StagePlan, plan
from gmner.optimizers.request_plan import SENT, RequestPlan
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError

Programs = Callable[[str], GMNER]
ROLLOUTS = {"prompts": 2, "generations": 2, "max_completion_length": 400, "rollouts": "constrained", "redraws": 0}


@pytest.mark.slow
def test_plan_counts_equal_those_of_the_compile(
    program: Programs,
    posts: list[Post],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    student, plans = program("idefics3"), list[Plan]()
    monkeypatch.setattr("gmner.optimizers.mcr.plan", lambda *given: plans.append(plan(*given)) or plans[-1])
    before = copy.deepcopy(student.model.engine.model.state_dict())
    mcr = MCR(
        mrsi=MRSI(
            styles=["text_first", "table"],
            batch=2,
            epochs=1,
            least_steps=0,
            tuning="full",
            sft_options={"warmup_steps": 9},
        ),
        cvo=CVO(epochs=1, least_steps=0, tuning="full", grpo_options={"logging_steps": 9}, **ROLLOUTS),
        progress=False,
    )
    same = student.compile(trainset=posts[:4], optimizer=mcr, run_dir=tmp_path / "run", dry_run=True)
    (planned,) = plans
    assert isinstance(same, GMNER)
    assert same is not student
    assert not (tmp_path / "run").exists()
    assert all(torch.equal(value, before[name]) for name, value in student.model.engine.model.state_dict().items())
    printed = capsys.readouterr().out
    assert "mrsi" in printed
    assert "memory of the" in printed
    done = student.compile(trainset=posts[:4], optimizer=mcr, run_dir=tmp_path / "run")
    for stage in planned.stages:
        log = done.history.log[stage.name]
        assert max(entry["step"] for entry in log) == stage.steps
        tokens = max(entry["num_tokens"] for entry in log if "num_tokens" in entry)
        assert stage.tokens == pytest.approx(tokens, rel=0.5)
        assert stage.seconds > 0
    assert [(stage.name, stage.posts, stage.samples) for stage in planned.stages] == [("mrsi", 4, 8), ("cvo", 4, 8)]
    assert [stage.rate for stage in planned.stages] == [2e-4, 1e-4]  # the defaults of a small model
    assert planned.memory > 2**26


def usage_lm(answer: object, cost: float | None = None) -> dspy.BaseLM:
    """A scripted LM whose calls have 1,000 tokens in, 50 out and this cost."""

    lm = scripted_lm(answer)

    class Priced(type(lm)):
        def update_history(self, entry: dict) -> None:
            super().update_history({**entry, "usage": {"prompt_tokens": 1000, "completion_tokens": 50}, "cost": cost})

    lm.__class__ = Priced
    return lm


@pytest.mark.slow
def test_requests_for_chains_are_measured_and_scaled(program: Programs, posts: list[Post]):
    lm = usage_lm("no chain at all", cost=0.25)
    styles = {"stepwise": TEMPLATES["stepwise"], "llm": LLMStyle(lm, attempts=3)}
    mrsi = MRSI(styles=styles, per_post=1, batch=2, max_steps=2, tuning="full")
    planned = plan(MCR(mrsi=mrsi, cvo=None, progress=False).settings, program("idefics3"), posts[:8])
    assert lm.history == []  # the plan asks a copy
    assert len(lm.engine.requests) == SENT * 3 * 2  # DSPy asks again for an answer in JSON
    # Every second post gets a model-written chain, and each of these takes all attempts.
    assert planned.requests == (RequestPlan(lm.model, "chains", 24, 24_000, 1200, 6.0),)
    assert planned.stages[0].name == "mrsi"
    assert f"chains of {lm.model}" in str(planned)
    assert "$ 6.00" in str(planned)


def test_answers_of_a_served_student_are_measured_and_scaled(posts: list[Post]):
    lm = usage_lm({"reasoning": "", "entities": []})
    search = Demonstrations(served_count=2, sets=2, max_metric_calls=12)
    settings = MCR(mrsi=MRSI(demonstrations=search), progress=False).settings
    planned = plan(settings, GMNER(lm), posts[:12], posts[12:15])
    # Three posts before and after MRSI, and four sets of demonstrations on three posts.
    assert planned.requests == (RequestPlan(lm.model, "answers", 18, 18_000, 900, None),)
    assert (planned.stages, lm.history, len(lm.engine.requests)) == ((), [], SENT)
    assert len([m for m in lm.engine.requests[0].messages if m.role == "assistant"]) == 2
    assert "price not known" in str(planned)
    assert "memory" not in str(planned)


def test_requests_are_counted_without_a_history_and_posts_without_answers_are_named(posts: list[Post]):
    settings = MCR(mrsi=None, progress=False).settings
    with dspy.context(disable_history=True):
        planned = plan(settings, GMNER(usage_lm({"reasoning": "", "entities": []})), posts[:2], posts[2:4])
    assert planned.requests[0].tokens_in == 2000
    missing = [replace(post, image=Path("none.png")) for post in posts[2:4]]
    with pytest.raises(InputError, match=r"first 2 posts of the validation set cannot be answered.*none\.png"):
        plan(settings, GMNER(scripted_lm({})), posts[:2], missing)


def test_requests_of_a_plan_equal_those_of_the_compile(posts: list[Post], tmp_path: Path):
    lm = scripted_lm({"reasoning": "", "entities": []})
    search = Demonstrations(served_count=2, sets=2, max_metric_calls=12)
    mcr = MCR(mrsi=MRSI(demonstrations=search), progress=False)
    planned = plan(mcr.settings, GMNER(lm), posts[:12], posts[12:15])
    sent = len(lm.engine.requests)
    with pytest.warns(UnchangedProgramWarning):
        GMNER(lm).compile(trainset=posts[:12], valset=posts[12:15], optimizer=mcr, run_dir=tmp_path / "run")
    assert len(lm.engine.requests) - sent == pytest.approx(planned.requests[0].requests, abs=3)


def test_plan_without_requests_or_training_says_so(posts: list[Post]):
    lm = scripted_lm("nobody asks")
    planned = plan(MCR(progress=False).settings, GMNER(lm), posts[:6])
    assert (planned.stages, planned.requests, lm.engine.requests) == ((), (), [])
    assert str(planned) == "nothing to train and no requests to send"


def test_server_that_does_not_answer_stops_the_plan(posts: list[Post]):
    def down(_: object) -> str:
        raise dspy.LMAuthError("no such key")

    with pytest.raises(dspy.LMError, match="no such key"):
        plan(MCR(progress=False).settings, GMNER(scripted_lm(down)), posts[:6], posts[6:9])


def test_dry_run_shows_progress(posts: list[Post], capsys: pytest.CaptureFixture[str]):
    lm = usage_lm({"reasoning": "", "entities": []})
    GMNER(lm).compile(trainset=posts[:6], valset=posts[6:9], optimizer=MCR(), dry_run=True)
    out, err = capsys.readouterr()
    assert "dry run" in err
    assert "answers" in err
    assert "1,000" not in out  # six answers
    assert "6,000" in out


def test_stage_without_posts_is_refused(program: Programs, posts: list[Post]):
    with pytest.raises(InputError, match="D1 or D2 has no post"):
        plan(MCR(d1_share=0.5, progress=False).settings, program("idefics3"), posts[:1])


def test_plan_is_printed_as_a_table():
    stages = (
        StagePlan("mrsi", 3500, 14000, 875, 1e-4, 9_000_000, 7200.0),
        StagePlan("cvo", 3500, 56000, 875, 5e-6, 10, 59.6),
    )
    requests = (RequestPlan("openai/gpt-x", "answers", 1200, 0, 5_000, 12.5),)
    text = str(Plan(stages, 3 * 2**30, requests=requests))
    assert "2 h 0 min" in text
    assert "1 min 0 s" in text
    assert "9,000,000" in text
    assert "0.0001" in text
    assert "5e-06" in text
    assert "3.0 GiB" in text
    assert "answers of openai/gpt-x" in text
    assert "1,200" in text
    assert "not reported" in text
    assert "$ 12.50" in text
