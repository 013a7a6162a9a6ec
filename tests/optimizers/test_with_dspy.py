"""MCR combined with DSPy's optimizers: `BetterTogether` in both orders, and `BootstrapFewShot`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy import lm15
from PIL import Image
from scripted import entity, pictures_of, scripted_lm
from worlds import drawn

from gmner.data.post import Post
from gmner.data.scoring.metric import gmner_metric
from gmner.data.table import to_examples
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.bundle import load
from gmner.programs.gmner import GMNER
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity

pytestmark = pytest.mark.e2e

BOX = Box(2, 1, 10, 5)


def post_of(number: int, *, shown: bool) -> Post:
    """Ana, shown or not."""
    gold = GoldEntity("Ana", 0, 3, "PER", (BOX,) if shown else ())
    return Post(f"p{number}", f"Ana is in {number}", Image.new("RGB", (20, 10), (number, 0, 0)), (gold,))


TRAIN = [post_of(number, shown=number % 2 == 0) for number in range(8)]
VAL = [post_of(number, shown=True) for number in range(8, 14)]


def answers(request: lm15.Request) -> dict[str, Any]:
    """Finds Ana, but predicts her box only if a demonstration has one, like a model that needs examples."""
    taught = any('"visible":true' in part.text for m in request.messages for part in m.parts if hasattr(part, "text"))
    return {"reasoning": "", "entities": [entity("Ana", [100, 100, 500, 500] if taught else None)]}


@pytest.fixture
def lm() -> dspy.LM:
    return scripted_lm(answers, name="served")


def bootstrap(**change: Any) -> dspy.BootstrapFewShot:
    options = {"metric": gmner_metric, "max_bootstrapped_demos": 2, "max_labeled_demos": 0, **change}
    return dspy.BootstrapFewShot(**options)


def mrsi_only(**change: Any) -> MCR:
    return MCR(mrsi=MRSI(demonstrations=Demonstrations(count=2, **change)), cvo=None, progress=False)


def better_together(student: GMNER, strategy: str, **optimizers: Any) -> GMNER:
    """Run `BetterTogether`, which reports an error of a step only with a flag."""
    both = dspy.BetterTogether(metric=gmner_metric, **optimizers)
    better = both.compile(student, trainset=to_examples(TRAIN), valset=to_examples(VAL), strategy=strategy, seed=0)
    assert better.flag_compilation_error_occurred is False
    return better


def test_bootstrap_few_shot_demonstrations_are_sent(lm: dspy.LM, tmp_path: Path):
    absent = [post for post in TRAIN if not post.gold[0].visible]
    student = GMNER(lm)
    with dspy.context(lm=lm):
        better = bootstrap(max_labeled_demos=3).compile(student, trainset=to_examples(absent))
        assert student.answer.demos == []
        assert [bool(demo.get("augmented")) for demo in better.answer.demos] == [True, True, False]
        lm.engine.requests.clear()
        better(text=VAL[0].text, image=VAL[0].image)
    (request,) = lm.engine.requests
    assert [message.role for message in request.messages] == ["user", "assistant"] * 3 + ["user"]
    assert len(pictures_of(request)) == 4
    told = [json.loads(message.parts[0].text) for message in request.messages[1::2]]
    assert all(set(answer) == {"reasoning", "entities"} for answer in told)
    assert all(answer["entities"][0]["span"] == "Ana" for answer in told)
    better.set_lm(lm)
    better.save(tmp_path / "bundle")
    again = load(tmp_path / "bundle", lm=scripted_lm(answers))
    again(text=VAL[0].text, image=VAL[0].image)
    assert again.model.engine.requests[0].messages == request.messages


@pytest.mark.parametrize("strategy", ["p -> w", "w -> p"])
def test_better_together_runs_both_orders(strategy: str, lm: dspy.LM):
    better = better_together(GMNER(lm), strategy, p=bootstrap(), w=mrsi_only())
    tried = {found["strategy"]: found["score"] for found in better.candidate_programs}
    assert set(tried) == {"", strategy[0], strategy}
    first, second = strategy.split(" -> ")
    scores = {"w": 100.0, "p": 0.0}  # only MCR's demonstrations have a box; bootstrapped ones are answers of the model
    assert (tried[""], tried[first]) == (0.0, scores[first])
    assert tried[strategy] == (100.0 if second == "w" or first == "w" else 0.0)
    best = better.candidate_programs[0]
    assert best["score"] == 100.0
    assert gmner_metric(to_examples(VAL)[0], better(text=VAL[0].text, image=VAL[0].image)) == 1.0


def test_bootstrap_teacher_uses_the_demonstrations_of_mcr(lm: dspy.LM):
    """After step `w`, the teacher of step `p` is the compiled program with MCR's demonstrations."""
    student = mrsi_only().compile(GMNER(lm), trainset=TRAIN)
    student._compiled = False  # like BetterTogether between its steps
    lm.engine.requests.clear()
    better = bootstrap(max_bootstrapped_demos=1).compile(student, trainset=to_examples(TRAIN[:1]))
    (request,) = lm.engine.requests
    assert len(request.messages) == 5
    assert better.answer.demos[0].entities[0].box.iou(BOX) > 0.99


def test_better_together_with_a_search_on_its_valset(lm: dspy.LM, tmp_path: Path):
    both = dspy.BetterTogether(metric=gmner_metric, p=bootstrap(), w=mrsi_only(max_metric_calls=30))
    better = both.compile(
        GMNER(lm),
        trainset=to_examples(TRAIN),
        valset=to_examples(VAL),
        strategy="p -> w",
        optimizer_compile_args={"w": {"run_dir": tmp_path / "run"}},
    )
    assert better.flag_compilation_error_occurred is False
    assert better.candidate_programs[0]["strategy"] == "p -> w"
    record = json.loads((tmp_path / "run" / "demonstrations.json").read_text())
    assert 0 < record["calls"] <= 30
    assert [demo["post_id"] for demo in better.answer.demos] == record["sets"][record["chosen"]]["ids"]


def test_better_together_without_a_valset(lm: dspy.LM):
    """A tenth of eight posts is no post: MCR gets an empty valset."""
    both = dspy.BetterTogether(metric=gmner_metric, w=mrsi_only(max_metric_calls=30))
    better = both.compile(GMNER(lm), trainset=to_examples(TRAIN), strategy="w")
    assert better.flag_compilation_error_occurred is False
    assert len(better.answer.demos) == 2


def test_better_together_trains_weights_and_keeps_the_demonstrations_of_the_first_step(
    program: Callable[[str], GMNER], posts: list[Post], tmp_path: Path
):
    student = program("idefics3")
    mrsi = MRSI(max_steps=1, batch=2, tuning="full")
    both = dspy.BetterTogether(
        metric=gmner_metric, p=dspy.LabeledFewShot(k=1), w=MCR(mrsi=mrsi, cvo=None, progress=False)
    )
    better = both.compile(
        student,
        trainset=to_examples(posts[:4]),
        valset=to_examples(drawn("dev", 2)),
        strategy="p -> w",
        optimizer_compile_args={"w": {"run_dir": tmp_path}},
    )
    assert better.flag_compilation_error_occurred is False
    last = next(found["program"] for found in better.candidate_programs if found["strategy"] == "p -> w")
    assert json.loads((tmp_path / "mrsi" / "done.json").read_text())["log"]
    assert len(last.answer.demos) == 1
    assert last.answer.demos[0].text in [post.text for post in posts]
