"""The pass that creates the reasoning set in a compile: the teacher is called once, and its chains are reused."""

import json
from collections.abc import Callable
from pathlib import Path

import dspy
import pytest
from scripted import scripted_lm, words_of

from gmner.data.post import Post
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.chains.reasoning_set import ReasoningSet
from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.chains.styles.model_written import LLMStyle
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import ModelProfile
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError

EMPTY = {"reasoning": "", "entities": []}
ROLLOUTS = {
    "max_steps": 1, "prompts": 2, "generations": 2, "max_completion_length": 400, "redraws": 0, "tuning": "full",
}  # fmt: skip


def echo_draft(request):
    """A teacher that returns the draft, so that all its chains are correct."""
    draft = words_of(request).split("[[ ## draft ## ]]")[1].split("[[ ##")[0].strip()
    return f"[[ ## chain ## ]]\n{draft}\n\n[[ ## completed ## ]]"


@pytest.fixture
def teacher() -> dspy.LM:
    return scripted_lm(echo_draft, name="teacher")


def optimizer(**mrsi: object) -> MCR:
    styles = {"llm": LLMStyle(), "table": TEMPLATES["table"]}
    usual = {"styles": styles, "per_post": 2, "demonstrations": Demonstrations(served_count=1)}
    return MCR(mrsi=MRSI(**{**usual, **mrsi}), progress=False)


def test_teacher_writes_once_and_its_set_is_reused(posts: list[Post], teacher: dspy.LM, tmp_path: Path):
    student = GMNER(scripted_lm(EMPTY))
    first = student.compile(trainset=posts, optimizer=optimizer(), teacher=teacher, run_dir=tmp_path / "one")
    asked = len(teacher.engine.requests)
    assert asked == len(posts)
    made = ReasoningSet.load(tmp_path / "one" / "chains")
    assert made.origin.teacher == "local/teacher"
    assert made.counts().authors == {"llm": len(posts), "template": len(posts)}
    assert (tmp_path / "one" / "chains" / "README.md").is_file()
    assert json.loads((tmp_path / "one" / "chains" / "done.json").read_text())["fallbacks"] == 0

    again = student.compile(trainset=posts, optimizer=optimizer(), teacher=teacher, run_dir=tmp_path / "one")
    other = optimizer(chains_from=tmp_path / "one" / "chains")
    elsewhere = student.compile(trainset=posts, optimizer=other, run_dir=tmp_path / "two")  # without a teacher
    assert len(teacher.engine.requests) == asked
    assert ReasoningSet.load(tmp_path / "two" / "chains") == made
    reasoning = [demo["reasoning"] for demo in first.answer.demos]
    assert reasoning
    for program in (again, elsewhere):
        assert [demo["reasoning"] for demo in program.answer.demos] == reasoning


def test_program_as_teacher(posts: list[Post], teacher: dspy.LM):
    GMNER(scripted_lm(EMPTY)).compile(trainset=posts[:3], optimizer=optimizer(), teacher=GMNER(teacher))
    assert len(teacher.engine.requests) == 3


def test_set_for_another_model_or_other_posts_is_refused(posts: list[Post], teacher: dspy.LM, tmp_path: Path):
    GMNER(scripted_lm(EMPTY)).compile(trainset=posts, optimizer=optimizer(), teacher=teacher, run_dir=tmp_path / "one")
    used = optimizer(chains_from=tmp_path / "one" / "chains")
    pixels = scripted_lm(EMPTY, ModelProfile(box_format=BoxFormat("original")), name="pixels")
    with pytest.raises(InputError, match="another coordinate convention"):
        GMNER(pixels).compile(trainset=posts, optimizer=used, teacher=teacher)
    with pytest.raises(InputError, match=posts[0].id):
        GMNER(scripted_lm(EMPTY)).compile(trainset=posts[1:], optimizer=used, teacher=teacher)


def test_substituted_chains_are_counted_and_reported(
    posts: list[Post], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    liar = scripted_lm("[[ ## chain ## ]]\nNice post!\n\n[[ ## completed ## ]]", name="liar")
    named = [post for post in posts if post.gold]
    GMNER(scripted_lm(EMPTY)).compile(trainset=named, optimizer=optimizer(), teacher=liar, run_dir=tmp_path / "run")
    assert f"{len(named)} of {2 * len(named)} chains were replaced: missing_span {len(named)}" in caplog.text


@pytest.mark.slow
def test_both_stages_can_use_all_posts(program: Callable[[str], GMNER], posts: list[Post], tmp_path: Path):
    mrsi, cvo = MRSI(max_steps=1, batch=2, tuning="full"), CVO(**ROLLOUTS)
    mcr = MCR(mrsi=mrsi, cvo=cvo, d1_share=1.0, learnable_answers=2, progress=False)
    program("idefics3").compile(trainset=posts[:6], optimizer=mcr, run_dir=tmp_path)
    split = json.loads((tmp_path / "chains" / "split.json").read_text())
    assert sorted(split["d1"]) == sorted(post.id for post in posts[:6])
    record = json.loads((tmp_path / "learnable" / "done.json").read_text())
    assert record["scores"].keys() == {post.id for post in posts[:6]}


@pytest.mark.slow
def test_uninformative_posts_are_skipped_in_reinforcement_learning(
    program: Callable[[str], GMNER], posts: list[Post], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    mrsi, cvo = MRSI(max_steps=1, batch=2, tuning="full"), CVO(**ROLLOUTS)
    mcr = MCR(mrsi=mrsi, cvo=cvo, d1_share=0.5, learnable_answers=2, progress=False)
    program("idefics3").compile(trainset=posts[:8], optimizer=mcr, run_dir=tmp_path)
    record = json.loads((tmp_path / "learnable" / "done.json").read_text())
    split = json.loads((tmp_path / "chains" / "split.json").read_text())
    assert set(record["scores"]) == set(split["d2"])
    assert all(len(scores) == 2 for scores in record["scores"].values())
