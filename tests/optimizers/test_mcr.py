"""MCR from end to end: on the world with a tiny Idefics3, and on real tweets with a tiny Qwen2.5-VL and LoRA."""

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
import torch
from scripted import scripted_lm
from trl import GRPOConfig, GRPOTrainer, SFTTrainer
from worlds import drawn, short_posts

from gmner.data.post import Post
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.data.scoring.metric import to_example
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.compilation import Compilation
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.presets import preset
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.trainable import StageBar
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import ImageError, InputError, RunDirectoryError
from gmner.signatures.schema import Limits

pytestmark = pytest.mark.e2e

Programs = Callable[[str], GMNER]
Weights = Callable[[Path], dict[str, torch.Tensor]]

INJECT: dict[str, Any] = {"styles": ["text_first", "table"], "max_steps": 2, "batch": 4, "tuning": "full"}
OPTIMIZE: dict[str, Any] = {
    "max_steps": 2, "prompts": 2, "generations": 4, "max_completion_length": 400, "rollouts": "constrained",
    "tuning": "full", "redraws": 0,
}  # fmt: skip


def small(mrsi: dict[str, Any] | None = None, cvo: dict[str, Any] | None = None, **options: Any) -> MCR:
    stages = {"mrsi": MRSI(**{**INJECT, **(mrsi or {})}), "cvo": CVO(**{**OPTIMIZE, **(cvo or {})})}
    return MCR(progress=False, **{**stages, **options})


def differ(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """The names of the tensors that differ."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.fixture(scope="module")
def compiled(program: Programs, posts: list[Post], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One compile with a valset, and the weights of the student before it."""
    student, run_dir = program("idefics3"), tmp_path_factory.mktemp("run")
    before = {name: value.clone() for name, value in student.model.engine.model.state_dict().items()}
    copied: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        copy = training.training_copy
        patch.setattr(training, "training_copy", lambda s, path, *a, **k: copied.append(path) or copy(s, path, *a, **k))
        better = student.compile(trainset=posts, valset=drawn("dev", 3), optimizer=small(), run_dir=run_dir)
    return {"student": student, "before": before, "better": better, "run_dir": run_dir, "copied": copied}


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every call of a trainer fail the test."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished stage is trained again")

    monkeypatch.setattr(SFTTrainer, "train", fail)
    monkeypatch.setattr(GRPOTrainer, "train", fail)


def test_history_holds_every_stage(compiled: dict[str, Any]):
    history, stages = compiled["better"].history, ["before", "mrsi", "cvo"]
    assert list(history.programs) == list(history.scores) == stages
    assert history.programs["before"] is compiled["student"]
    assert history.chosen == max(stages, key=lambda stage: history.scores[stage].gmner.f1)
    assert all(score.posts == 3 and not score.failed for score in history.scores.values())
    models = [history.programs[stage].model.model for stage in stages]
    assert len(set(models)) == 3  # so DSPy's cache never returns answers of another stage
    assert all(model.startswith("local/idefics3@") for model in models)
    assert compiled["better"].model.model == history.programs[history.chosen].model.model
    assert compiled["better"].scores.keys() == set(stages)
    assert [log["step"] for log in history.log["cvo"] if "reward" in log] == [1, 2]


def test_every_stage_has_its_own_weights(compiled: dict[str, Any], weights: Weights):
    folders = {stage: compiled["run_dir"] / stage for stage in ("mrsi", "cvo")}
    stored = {stage: weights(folder) for stage, folder in folders.items()}
    assert differ(stored["mrsi"], stored["cvo"])
    for stage, folder in folders.items():
        engine = compiled["better"].history.programs[stage].model.engine
        assert engine.path == folder.resolve()
        served = engine.model.state_dict()
        assert all(torch.equal(value, served[name]) for name, value in stored[stage].items())


def test_cvo_begins_with_the_weights_of_mrsi(compiled: dict[str, Any]):
    assert compiled["copied"] == [compiled["student"].model.engine.path, (compiled["run_dir"] / "mrsi").resolve()]


def test_student_is_not_changed(compiled: dict[str, Any]):
    student, before = compiled["student"], compiled["before"]
    assert compiled["better"] is not student
    assert not hasattr(student.history, "programs")
    assert student.scores is None
    assert student.answer.demos == []
    assert differ(before, student.model.engine.model.state_dict()) == []
    assert not any(value.requires_grad and value.grad is not None for value in student.model.engine.model.parameters())


def test_compiled_program_keeps_its_settings(compiled: dict[str, Any]):
    student, better = compiled["student"], compiled["better"]
    assert (better.limits, better.labels) == (student.limits, student.labels)
    assert better._compiled


def test_compiled_program_predicts_and_has_a_history(compiled: dict[str, Any], posts: list[Post]):
    better, history = compiled["better"], compiled["better"].history
    calls = len(history)
    answer = better(text=posts[0].text, image=posts[0].image)
    assert len(better.history) == calls + 1  # DSPy records calls there
    assert better.deepcopy()(text=posts[0].text, image=posts[0].image).entities == answer.entities


def test_run_directory_content(compiled: dict[str, Any], posts: list[Post]):
    folder: Path = compiled["run_dir"]
    split = json.loads((folder / "chains" / "split.json").read_text())
    assert sorted(split["d1"] + split["d2"]) == sorted(post.id for post in posts)
    chains = [json.loads(line) for line in (folder / "chains" / "chains.jsonl").read_text().splitlines()]
    assert {chain["post_id"] for chain in chains} == set(split["d1"])
    assert len(chains) == 2 * len(split["d1"])
    assert all(len(chain["reasoning"]) <= compiled["student"].limits.reasoning for chain in chains)
    config = json.loads((folder / "config.json").read_text())
    assert config["seed"] == 0
    assert config["cvo"]["prompts"] == 2
    assert config["model"] == compiled["student"].model.model
    result = json.loads((folder / "result.json").read_text())
    assert result["chosen"] == compiled["better"].history.chosen
    for stage, score in compiled["better"].history.scores.items():
        assert json.loads((folder / f"scores-{stage}.json").read_text())["gmner"]["f1"] == score.gmner.f1
    for stage in ("chains", "mrsi", "cvo"):
        assert (folder / stage / "done.json").is_file()


@pytest.mark.usefixtures("no_training")
def test_repeated_compile_trains_nothing(compiled: dict[str, Any], posts: list[Post]):
    valset = drawn("dev", 3)
    again = compiled["student"].compile(
        trainset=[to_example(post) for post in posts], valset=valset, optimizer=small(), run_dir=compiled["run_dir"]
    )
    assert again.model.model == compiled["better"].model.model
    assert again.history.log == compiled["better"].history.log


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed: 0 before, 1 now"),
        ({"d1_share": 0.25}, "d1_share: 1.0 before, 0.25 now"),
        ({"mrsi": {"max_steps": 7}}, "mrsi.max_steps: 2 before, 7 now"),
        ({"cvo": {"sigma": 0.7}}, "cvo.sigma: 0.5 before, 0.7 now"),
        ({"cvo": {"weights": dict.fromkeys(CVO().weights, 1.0)}}, "cvo.weights.count: 0.2 before, 1.0 now"),
    ],
)
def test_changed_arguments_are_refused_by_name(
    compiled: dict[str, Any], posts: list[Post], change: dict[str, Any], named: str
):
    options = {"trainset": posts, "valset": drawn("dev", 3), "run_dir": compiled["run_dir"]}
    with pytest.raises(RunDirectoryError, match=named.replace(".", r"\.")):
        compiled["student"].compile(optimizer=small(**change), **options)


@pytest.mark.usefixtures("no_training")
def test_other_posts_are_refused(compiled: dict[str, Any], posts: list[Post]):
    def refuse(named: str, trainset: list[Post], student: GMNER = compiled["student"]) -> None:
        with pytest.raises(RunDirectoryError, match=named):
            student.compile(trainset=trainset, valset=drawn("dev", 3), optimizer=small(), run_dir=compiled["run_dir"])

    refuse("train", posts[:-1])
    refuse("train_content", short_posts(24, seed=9))  # the same ids
    limits = compiled["student"].limits
    longer = GMNER(lm=compiled["student"].model, limits=dataclasses.replace(limits, reasoning=30))
    refuse(f"limits.reasoning: {limits.reasoning} before, 30 now", posts, longer)


class Killed(Exception):  # noqa: N818 - the end of a process, not an error
    """Simulates a killed process."""


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Stop the compile after `step` steps of CVO."""

    def killed(self: StageBar, args: Any, state: Any, control: Any, **_: Any) -> None:
        if isinstance(args, GRPOConfig) and state.global_step == step:
            raise Killed

    monkeypatch.setattr(StageBar, "on_step_end", killed)


RESUMED = {"max_steps": 3, "generations": 2, "redraws": 1, "grpo_options": {"save_steps": 1}}


def test_killed_compile_resumes(
    program: Programs, posts: list[Post], tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
):
    optimizer = small(mrsi={"max_steps": 1}, cvo=RESUMED)
    program("idefics3").compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        with pytest.raises(Killed):
            program("idefics3").compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path / "cut")
    assert (tmp_path / "cut" / "cvo" / "checkpoint-1").is_dir()
    assert not (tmp_path / "cut" / "cvo" / "done.json").exists()
    # Simulates a kill while a checkpoint is written: the trainer's state, which is written last, is truncated.
    half = Path(shutil.copytree(tmp_path / "cut" / "cvo" / "checkpoint-1", tmp_path / "cut" / "cvo" / "checkpoint-2"))
    (half / "whole.json").unlink()
    (half / "trainer_state.json").write_text('{"global_step": 2,')
    with monkeypatch.context() as patch:
        patch.setattr(MRSI, "inject", lambda *_, **__: pytest.fail("MRSI is finished"))
        better = program("idefics3").compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path / "cut")
    assert [log["step"] for log in better.history.log["cvo"] if "reward" in log] == [1, 2, 3]
    assert differ(weights(tmp_path / "whole" / "mrsi"), weights(tmp_path / "cut" / "mrsi")) == []
    assert differ(weights(tmp_path / "whole" / "cvo"), weights(tmp_path / "cut" / "cvo")) == []


def test_compile_killed_after_its_last_step_trains_no_more(
    program: Programs, posts: list[Post], tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
):
    optimizer = small(mrsi={"sft_options": {"save_steps": 1}}, cvo=None)
    optimizer.cvo = None
    with monkeypatch.context() as patch:
        patch.setattr(Compilation, "_finish", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            program("idefics3").compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path)
    whole = weights(tmp_path / "mrsi")
    better = program("idefics3").compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path)
    assert better.history.log["mrsi"][-1]["step"] == 2
    assert differ(whole, weights(tmp_path / "mrsi")) == []


def test_mrsi_alone_uses_all_posts(program: Programs, posts: list[Post], tmp_path: Path):
    optimizer = MCR(mrsi=MRSI(**INJECT, demonstrations=Demonstrations(count=2)), cvo=None, progress=False)
    better = program("idefics3").compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path)
    assert list(better.history.programs) == ["before", "mrsi"]
    assert better.history.chosen == "mrsi"
    assert (better.history.scores, better.scores) == ({}, None)
    assert len(better.answer.demos) == 2
    split = json.loads((tmp_path / "chains" / "split.json").read_text())
    assert (len(split["d1"]), split["d2"]) == (24, [])


def test_served_lm_gets_only_demonstrations(posts: list[Post], caplog: pytest.LogCaptureFixture):
    lm = scripted_lm({"reasoning": "", "entities": []}, name="served")
    student = GMNER(lm=lm)
    with caplog.at_level(logging.WARNING, logger="gmner"):
        better = student.compile(trainset=posts, valset=posts[:2], optimizer=MCR(progress=False))
    assert "The weights of local/served are not accessible: MRSI sets demonstrations, and CVO is skipped" in caplog.text
    assert list(better.history.programs) == ["before", "mrsi"]
    demonstrated = better.history.programs["mrsi"]
    assert (len(demonstrated.answer.demos), student.answer.demos) == (4, [])
    lm.engine.requests.clear()
    demonstrated(text="Mira Voss is late")
    (request,) = lm.engine.requests
    assert [message.role for message in request.messages] == ["user", "assistant"] * 4 + ["user"]


def test_served_lm_gets_the_requested_demonstrations(posts: list[Post]):
    student = GMNER(lm=scripted_lm({"reasoning": "", "entities": []}))
    better = student.compile(
        trainset=posts, optimizer=MCR(mrsi=MRSI(demonstrations=Demonstrations(count=6)), progress=False)
    )
    assert len(better.answer.demos) == len({demo["text"] for demo in better.answer.demos}) == 6


def test_refusals(posts: list[Post], tmp_path: Path):
    lm = scripted_lm({"reasoning": "", "entities": []})
    student, optimizer = GMNER(lm=lm), MCR(progress=False)
    bare = dataclasses.replace(posts[0], entities=None)
    with pytest.raises(InputError, match="No style uses the teacher"):
        optimizer.compile(student, trainset=posts, teacher=student)
    with pytest.raises(InputError, match="The teacher has no LM"):
        optimizer.compile(student, trainset=posts, teacher=GMNER())
    with pytest.raises(InputError, match=r"does not accept these arguments.*num_threads"):
        optimizer.compile(student, trainset=posts, num_threads=4)
    with pytest.raises(InputError, match=r"MCR cannot compile this program.*Predict"):
        optimizer.compile(dspy.Predict("text -> entities"), trainset=posts)
    with pytest.raises(InputError, match="cannot set demonstrations on a staged program"):
        optimizer.compile(StagedGMNER(lm=lm), trainset=posts)
    with pytest.raises(InputError, match="training set is empty"):
        optimizer.compile(student, trainset=[])
    with pytest.raises(InputError, match=f"not annotated.*{bare.id}"):
        optimizer.compile(student, trainset=[bare])
    with pytest.raises(InputError, match=f"have the same id.*{bare.id}"):
        optimizer.compile(student, trainset=[posts[0], posts[0]])
    shown = next(post for post in posts if any(entity.visible for entity in post.gold))
    with pytest.raises(InputError, match=f"no image.*{shown.id}"):
        optimizer.compile(student, trainset=[dataclasses.replace(shown, image=None)], run_dir=tmp_path / "run")
    with pytest.raises(ImageError, match=rf"{shown.id}.*none\.png"):
        optimizer.compile(
            student, trainset=[dataclasses.replace(shown, image=tmp_path / "none.png")], run_dir=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="Not an annotated post"):
        optimizer.compile(student, trainset=[dspy.Example(text="a")])
    with pytest.raises(InputError, match="cvo must be CVO"):
        MCR(cvo="none")
    with pytest.raises(InputError, match="mrsi must be MRSI"):
        MCR(mrsi="none")
    with pytest.raises(InputError, match="MCR needs MRSI, CVO or both"):
        MCR(mrsi=None, cvo=None)
    with pytest.raises(InputError, match="A teacher requires MRSI"):
        MCR(mrsi=None, progress=False).compile(student, trainset=posts, teacher=scripted_lm(""))
    with pytest.raises(InputError, match="weights are accessible"):
        MCR(mrsi=None, progress=False).compile(GMNER(scripted_lm("")), trainset=posts, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="d1_share must be above 0"):
        MCR(d1_share=0.0)


def test_cvo_trains_with_demonstrations_from_chains(
    program: Programs, posts: list[Post], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    student = program("idefics3")
    optimizer = small(mrsi={"tuning": "none", "demonstrations": Demonstrations(served_count=1)}, cvo={"max_steps": 1})
    with caplog.at_level("INFO", "gmner"):
        better = student.compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path)
    assert "MRSI sets demonstrations (1) and trains no weights, then CVO trains the weights" in caplog.text
    programs = better.history.programs
    assert [len(programs[stage].answer.demos) for stage in ("before", "mrsi", "cvo")] == [0, 1, 1]
    assert programs["mrsi"].model.engine is student.model.engine
    assert programs["cvo"].model.engine is not student.model.engine
    assert not (tmp_path / "mrsi").exists()


def test_cvo_alone_uses_all_posts_and_temporary_runs_are_removed(
    program: Programs, posts: list[Post], weights: Weights, monkeypatch: pytest.MonkeyPatch
):
    at_exit: list[tuple[Any, ...]] = []
    monkeypatch.setattr("atexit.register", lambda *call, **_: at_exit.append(call))
    student, seen = program("idefics3"), []
    rows = CVO.rows
    monkeypatch.setattr(CVO, "rows", lambda self, given, *rest: seen.extend(given) or rows(self, given, *rest))
    better = student.compile(trainset=posts, optimizer=MCR(mrsi=None, cvo=CVO(**OPTIMIZE), progress=False))
    assert [call.post.id for call in seen] == [post.id for post in posts]
    assert list(better.history.programs) == ["before", "cvo"]
    assert "loss" in better.history.log["cvo"][0]
    folder = Path(better.model.engine.path)
    assert differ(weights(folder), weights(Path(student.model.engine.path)))
    _, run = next(call for call in at_exit if call[0] is shutil.rmtree)
    assert folder.is_relative_to(run)
    assert not (run / "chains").exists()


def test_presets_can_be_changed():
    big = preset("qwen2.5-vl-7b")
    assert (big.mrsi.epochs, big.cvo.epochs) == (2, 2)
    assert dataclasses.replace(big.mrsi, styles=None, micro_batch=None, rate=None, tuning="auto") == MCR().mrsi
    assert big.mrsi.styles == TEMPLATES
    assert big.cvo.generations * big.cvo.prompts == 64
    assert big.mrsi.batch % big.mrsi.micro_batch == 64 % big.cvo.micro_batch == 0
    assert dataclasses.replace(big.cvo, prompts=4, micro_batch=None, epochs=1.0, rate=None, tuning="auto") == MCR().cvo
    assert preset("tiny").mrsi.max_steps
    with pytest.raises(InputError, match=r"Unknown preset.*tiny"):
        preset("13b")


@pytest.mark.usefixtures("no_training")
def test_too_few_posts_for_both_stages_are_refused(program: Programs, posts: list[Post]):
    with pytest.raises(InputError, match="D1 or D2 has no post"):
        program("idefics3").compile(trainset=posts[:1], optimizer=small(d1_share=0.5))


ANSWERS = """
import json

def answers_of(program, posts):
    answers = [program(text=post.text, image=post.image) for post in posts]
    entities = [[[e.span, e.start, e.type, e.box and e.box.as_tuple()] for e in a.entities] for a in answers]
    return json.dumps([[a.reasoning for a in answers], entities])
"""
LOAD = """
import sys, gmner

posts = [post for post in gmner.read_twitter_gmner(sys.argv[2], "dev") if post.image is not None]
print(answers_of(gmner.load(sys.argv[1]), posts))
"""


def test_real_tweets_with_qwen_and_lora(twitter_root: Path, tmp_path: Path, program: Programs, weights: Weights):
    train = [post for post in read_twitter_gmner(twitter_root, "train") if post.image is not None]
    assert len(train) == 15
    student = GMNER(program("qwen2_5_vl").model, limits=Limits(reasoning=8, entities=4))
    better = student.compile(
        trainset=train,
        optimizer=small(mrsi={"tuning": "lora", "rate": 1e-2}, cvo={"tuning": "lora", "rate": 1e-2, "generations": 4}),
        run_dir=tmp_path / "run",
    )
    injected, optimized = weights(tmp_path / "run" / "mrsi"), weights(tmp_path / "run" / "cvo")
    assert any("lora_B" in name for name in differ(injected, optimized))
    assert any(value.abs().max() > 0 for name, value in injected.items() if "lora_B" in name)
    rewards = [log["reward"] for log in better.history.log["cvo"] if "reward" in log]
    assert len(rewards) == 2
    better.save(tmp_path / "bundle")
    asked = [post for post in read_twitter_gmner(twitter_root, "dev") if post.image is not None]
    assert asked
    here: dict[str, Any] = {}
    exec(ANSWERS, here)
    command = [sys.executable, "-c", ANSWERS + LOAD, str(tmp_path / "bundle"), str(twitter_root)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path, env=os.environ)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == here["answers_of"](better, asked)
    assert run.stdout.splitlines()[-1] != here["answers_of"](student, asked)  # the adapter has an effect
