"""Files of version 0.1.0 are still read: a bundle, a finished run directory, and predictions.

They were written by commit e4f13ee with a random model. When you change a format, add files of the version before.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from trl import GRPOTrainer, SFTTrainer

import gmner
from gmner.optimizers.training.settings import Lora
from gmner.signatures.errors import RunDirectoryError

EARLIER = Path(__file__).parent / "earlier"
LORA = Lora(rank=2)


@pytest.fixture(scope="module")
def posts() -> gmner.Posts:
    return gmner.read_posts(EARLIER / "posts")


def test_bundle_of_0_1_loads_with_demonstrations_and_weights(posts: gmner.Posts):
    program = gmner.load(EARLIER / "bundle")
    assert program.model.engine.model is not None
    assert [demo["text"] for demo in program.answer.demos] == ["red team speech"]
    (answer,) = program.batch_posts(posts[:1], progress=False)
    assert answer.error is None
    assert all(posts[0].text[e.start : e.end] == e.span for e in answer.entities)


def test_predictions_of_0_1_have_the_same_scores_in_every_protocol(posts: gmner.Posts):
    answers = gmner.read_predictions(EARLIER / "answers.jsonl")
    recorded = json.loads((EARLIER / "scores.json").read_text(encoding="utf-8"))
    assert recorded.keys() == gmner.PROTOCOLS.keys()
    for name, scores in recorded.items():
        found = json.loads(json.dumps(gmner.evaluate(answers, posts, protocol=name, progress=False).to_dict()))
        assert found == scores, name
    assert len({scores["gmner"]["f1"] for scores in recorded.values()}) > 1


def optimizer(**changed: object) -> gmner.MCR:
    """The optimizer with which the run directory was written."""
    former_defaults = {"styles": ["picture_first"], "per_post": 1, "answers": True}
    demonstrations = gmner.Demonstrations(count=1)
    injection = gmner.MRSI(
        max_steps=1, batch=2, tuning="lora", lora=LORA, demonstrations=demonstrations, **former_defaults
    )
    options = {"max_steps": 1, "prompts": 2, "generations": 2, "max_completion_length": 300, **changed}
    reinforcement = gmner.CVO(rollouts="constrained", tuning="lora", lora=LORA, **options)
    return gmner.MCR(mrsi=injection, cvo=reinforcement, progress=False)


def test_finished_run_of_0_1_is_not_trained_again(posts: gmner.Posts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for trainer in (SFTTrainer, GRPOTrainer):
        monkeypatch.setattr(trainer, "train", lambda *_, **__: pytest.fail("a finished stage is trained again"))
    run_dir = Path(shutil.copytree(EARLIER / "run", tmp_path / "run"))
    student = gmner.GMNER(gmner.load_vlm(EARLIER / "bundle" / "model", name="earlier", cache=False))
    better = student.compile(trainset=posts, optimizer=optimizer(), run_dir=run_dir)
    bundle = gmner.load(EARLIER / "bundle")
    weights = better.model.engine.model.state_dict()
    assert all((value == weights[name]).all() for name, value in bundle.model.engine.model.state_dict().items())
    assert [d["text"] for d in better.answer.demos] == [d["text"] for d in bundle.answer.demos]
    with pytest.raises(RunDirectoryError, match="generations"):
        student.compile(trainset=posts, optimizer=optimizer(generations=3), run_dir=run_dir)
    todays = optimizer()
    todays.mrsi = dataclasses.replace(todays.mrsi, styles=None, per_post=2, answers=False)
    with pytest.raises(RunDirectoryError, match=r"mrsi.*answers.*per_post"):
        student.compile(trainset=posts, optimizer=todays, run_dir=run_dir)
