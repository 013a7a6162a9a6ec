"""Checks before a compile starts, and warnings about its result."""

import dataclasses
import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from dspy.utils.callback import BaseCallback
from scripted import scripted_lm
from worlds import drawn

from gmner.data.post import Post
from gmner.data.scoring.evaluate import evaluate
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.chains.split import stratum
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.outcome import UnchangedProgramWarning, best_stage, fallen
from gmner.optimizers.run_page import render_run
from gmner.optimizers.training_set import _all_have_chains, held_out, training_sets
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError, RunDirectoryError


def optimizer(demonstrations: int = 2, **options: Any) -> MCR:
    return MCR(mrsi=MRSI(demonstrations=Demonstrations(count=demonstrations)), cvo=None, progress=False, **options)


@pytest.fixture
def student() -> GMNER:
    return GMNER(lm=scripted_lm({"reasoning": "", "entities": []}))


def twice_named(post: Post) -> Post:
    return dataclasses.replace(post, entities=(post.gold[0], dataclasses.replace(post.gold[0], type="LOC")))


def moved(post: Post) -> Post:
    first = post.gold[0]
    return dataclasses.replace(post, entities=(dataclasses.replace(first, start=first.start + 1),))


@pytest.mark.parametrize(("mar", "fact"), [(twice_named, "have the offsets"), (moved, "is not at")])
@pytest.mark.parametrize("where", ["trainset", "valset"])
def test_invalid_gold_is_refused_before_any_call(
    posts: list[Post], student: GMNER, tmp_path: Path, mar: Any, fact: str, where: str
):
    bad = next(post for post in posts if post.gold)
    sets = {"trainset": posts[:8], "valset": posts[8:12]}
    sets[where] = [dataclasses.replace(mar(bad), id="bad"), *(p for p in sets[where] if p is not bad)]
    name = {"trainset": "training set", "valset": "validation set"}[where]
    with pytest.raises(InputError, match=rf"{name}.*'bad'.*{fact}"):
        student.compile(**sets, optimizer=optimizer(), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert student.model.engine.requests == []


def test_valset_that_cannot_be_scored_is_refused(posts: list[Post], student: GMNER):
    mixed = [posts[8], dataclasses.replace(posts[9], grounded=False)]
    bare = [dataclasses.replace(posts[8], entities=None)]
    for val, fact in ((mixed, "annotated regions"), (bare, "not annotated"), ([posts[8]] * 2, "twice")):
        with pytest.raises(InputError, match=f"validation set.*{fact}"):
            student.compile(trainset=posts[:8], valset=val, optimizer=optimizer())


def test_invalid_posts_are_skipped_on_request(
    posts: list[Post], student: GMNER, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    bad = dataclasses.replace(moved(next(post for post in posts if post.gold)), id="bad")
    with caplog.at_level(logging.WARNING, logger="gmner"):
        student.compile(trainset=[bad, *posts[:8]], optimizer=optimizer(leave_out_invalid=True), run_dir=tmp_path)
    assert "Skipped 1 post of the training set" in caplog.text


def test_corrected_valset_resumes_but_a_changed_trainset_does_not(
    posts: list[Post], student: GMNER, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    def compile(train: list[Post], val: list[Post]) -> Any:
        return student.compile(trainset=train, valset=val, optimizer=optimizer(), run_dir=tmp_path)

    with pytest.warns(UnchangedProgramWarning):
        compile(posts[:8], posts[8:10])
    with caplog.at_level(logging.WARNING, logger="gmner"), pytest.warns(UnchangedProgramWarning):
        better = compile(posts[:8], posts[8:11])
    assert "computed again" in caplog.text
    assert len(better.history.scores["before"].predictions) == 3
    with pytest.raises(RunDirectoryError, match=r"other arguments.*train"):
        compile(posts[:7], posts[8:11])


def test_overlap_of_the_sets_causes_a_warning(posts: list[Post], student: GMNER, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="gmner"), pytest.warns(UnchangedProgramWarning):
        student.compile(trainset=posts[:8], valset=posts[7:9], optimizer=optimizer())
    assert "1 posts of the validation set are also in the training set" in caplog.text


def test_unchanged_result_causes_a_warning(posts: list[Post], student: GMNER, tmp_path: Path):
    val = [dataclasses.replace(post, grounded=False) for post in posts[8:10]]
    with pytest.warns(
        UnchangedProgramWarning, match="did not change the program: no stage scored higher on the validation set"
    ):
        same = student.compile(trainset=posts[:8], valset=val, optimizer=optimizer(), run_dir=tmp_path)
    assert same.history.chosen == "before"
    assert not math.isnan(same.history.scores["before"].mner.f1)
    assert same.history.unchanged in render_run(tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**result, "fallen": {"mrsi": "mrsi scores 1.0 below before"}}))
    assert "mrsi scores 1.0 below before" in render_run(tmp_path)


def test_warning_points_to_the_caller_and_dspy_sees_one_compile(posts: list[Post], student: GMNER):
    seen: list[str] = []

    class Watching(BaseCallback):
        def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            seen.append(call_id)

    val = [dataclasses.replace(post, grounded=False) for post in posts[8:10]]
    with dspy.context(callbacks=[Watching()]), pytest.warns(UnchangedProgramWarning) as caught:
        optimizer().compile(student, trainset=posts[:8], valset=val)
    assert [Path(warning.filename).name for warning in caught] == ["test_checks.py"]
    assert len(seen) == 1


def test_nan_is_never_the_best_score(posts: list[Post]):
    known = evaluate([], [post for post in posts if post.gold][:2])
    unknown = dataclasses.replace(known, gmner=dataclasses.replace(known.gmner, f1=math.nan))
    assert best_stage({"before": unknown, "mrsi": known}, "mrsi") == "mrsi"
    assert best_stage({"before": unknown, "mrsi": unknown}, "mrsi") == "mrsi"


def test_stage_with_a_lower_score_is_reported(posts: list[Post]):
    scored = evaluate([], [post for post in posts if post.gold][:2])
    low, high = (dataclasses.replace(scored, gmner=dataclasses.replace(scored.gmner, f1=f1)) for f1 in (40.0, 60.0))
    falls = fallen({"before": high, "mrsi": low, "cvo": high})
    assert falls == {"mrsi": "GMNER F1 on the validation set of 2 posts is 40.0 after MRSI, less than before (60.0)"}
    assert fallen({"before": low, "mrsi": low, "cvo": high}) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("count", "held"), [(48, 16), (100, 16), (1000, 100), (3000, 200)])
def test_valset_is_held_out_by_default(count: int, held: int):
    world = drawn("train", 48)  # generating thousands takes a minute
    posts = [dataclasses.replace(world[i % len(world)], id=f"post-{i}") for i in range(count)]
    train, val = held_out(posts, 0.1, seed=0)
    assert len(val) == held
    assert sorted(post.id for post in [*train, *val]) == sorted(post.id for post in posts)
    shares = [sum(stratum(post) == "absent" for post in part) / len(part) for part in (train, val)]
    assert abs(shares[0] - shares[1]) < 0.1
    assert [post.id for post in val] == [post.id for post in held_out(posts, 0.1, seed=0)[1]]
    assert [post.id for post in val] != [post.id for post in held_out(posts, 0.1, seed=1)[1]]


def test_no_post_is_held_out_without_training_or_with_given_chains(student: GMNER, monkeypatch: pytest.MonkeyPatch):
    posts = list(drawn("train", 60))
    served = optimizer(holdout=0.2)
    assert training_sets(served.settings, posts, None, student) == (posts, None)
    again = MCR(mrsi=MRSI(chains_from="chains"), cvo=None)
    for d1, whole in ((posts, True), (posts[:50], False)):
        made = SimpleNamespace(d1=tuple(post.id for post in d1), d2=())
        monkeypatch.setattr("gmner.optimizers.training_set.ReasoningSet.load", lambda folder, made=made: made)
        assert _all_have_chains(again.settings, posts) is whole


def test_few_posts_are_all_used_for_training(caplog: pytest.LogCaptureFixture):
    posts = list(drawn("train", 47))
    assert held_out(posts, 0.1, seed=0) == (posts, None)
    assert "stages are not scored" in caplog.text
    with pytest.raises(InputError, match="holdout must be at least 0"):
        MCR(holdout=1.0)
