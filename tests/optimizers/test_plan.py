"""The plan of a compile: its steps and costs."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scripted import scripted_lm

from gmner.data.post import Post
from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.chains.styles.model_written import LLMStyle
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.plan import Plan, StagePlan, plan
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError

Programs = Callable[[str], GMNER]
ROLLOUTS = {"prompts": 2, "generations": 2, "max_completion_length": 400, "rollouts": "constrained", "tuning": "full"}


@pytest.mark.slow
def test_plan_counts_equal_those_of_the_compile(
    program: Programs, posts: list[Post], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    student = program("idefics3")
    before = copy.deepcopy(student.model.engine.model.state_dict())
    mcr = MCR(
        mrsi=MRSI(batch=4, epochs=1, least_steps=0, tuning="full"),
        cvo=CVO(epochs=1, least_steps=0, **ROLLOUTS),
        progress=False,
    )
    planned = plan(mcr.settings, student, posts[:8])
    same = student.compile(trainset=posts[:8], optimizer=mcr, run_dir=tmp_path / "run", dry_run=True)
    assert isinstance(same, GMNER)
    assert same is not student
    assert not (tmp_path / "run").exists()
    assert all(torch.equal(value, before[name]) for name, value in student.model.engine.model.state_dict().items())
    printed = capsys.readouterr().out
    assert "mrsi" in printed
    assert "memory of the" in printed
    done = student.compile(trainset=posts[:8], optimizer=mcr, run_dir=tmp_path / "run")
    for stage in planned.stages:
        log = done.history.log[stage.name]
        assert max(entry["step"] for entry in log) == stage.steps
        tokens = max(entry["num_tokens"] for entry in log if "num_tokens" in entry)
        assert stage.tokens == pytest.approx(tokens, rel=0.5)
        assert stage.seconds > 0
    assert [(stage.name, stage.posts, stage.samples) for stage in planned.stages] == [("mrsi", 8, 16), ("cvo", 8, 16)]
    assert planned.memory > 2**26


@pytest.mark.slow
def test_plan_calls_no_lm_but_counts_chains(program: Programs, posts: list[Post]):
    lm = scripted_lm("nobody asks")
    styles = {"stepwise": TEMPLATES["stepwise"], "llm": LLMStyle(lm)}
    mrsi = MRSI(styles=styles, per_post=2, batch=2, max_steps=2, tuning="full")
    mcr = MCR(mrsi=mrsi, cvo=None, progress=False)
    planned = plan(mcr.settings, program("idefics3"), posts[:6])
    assert planned.teacher_requests == 6
    assert lm.engine.requests == []
    served = plan(mcr.settings, GMNER(lm), posts[:6])
    assert (served.stages, served.teacher_requests) == ((), 6)


def test_stage_without_posts_is_refused(program: Programs, posts: list[Post]):
    with pytest.raises(InputError, match="D1 or D2 has no post"):
        plan(MCR(d1_share=0.5, progress=False).settings, program("idefics3"), posts[:1])


def test_plan_is_printed_as_a_table():
    stages = (StagePlan("mrsi", 3500, 14000, 875, 9_000_000, 7200.0), StagePlan("cvo", 3500, 56000, 875, 10, 59.6))
    text = str(Plan(stages, 12, 3 * 2**30))
    assert "2 h 0 min" in text
    assert "1 min 0 s" in text
    assert "9,000,000" in text
    assert "3.0 GiB" in text
    assert "written by LMs: 12" in text
