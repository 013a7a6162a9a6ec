"""Odd posts, weights and programs in training sets of several tasks."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mixtures import mixture
from PIL import Image
from scripted import scripted_lm

import gmner
from gmner.data.post import Post, SceneObject
from gmner.data.world.generate import World
from gmner.optimizers.chains.checker import Contradiction, check_chain
from gmner.optimizers.chains.reasoning_set import ReasoningSet
from gmner.optimizers.chains.styles import TEMPLATES, write_chain
from gmner.optimizers.chains.styles.facts import Facts
from gmner.optimizers.chains.styles.model_written import LLMStyle
from gmner.optimizers.mixture import unrewarded
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.rewards import cvo, reward_columns
from gmner.optimizers.rewards.formulas import APPLIED
from gmner.optimizers.training.lengths import _Lengths
from gmner.optimizers.training.trainable import StageBar
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.gmner import GMNER
from gmner.programs.related_tasks import answer_by_task
from gmner.programs.staged import StagedGMNER
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import EXPRESSION, GoldEntity
from gmner.signatures.wire import Frame

FRAME = Frame(BoxFormat(), (100, 100))
LEFT, RIGHT = Box(10, 10, 20, 30), Box(50, 10, 60, 30)


def expression(text: str, *boxes: Box, **given: Any) -> Post:
    gold = (GoldEntity(text, 0, len(text), EXPRESSION, boxes),)
    return Post(given.pop("id", "e"), text, Image.new("RGB", (100, 100)), gold, **given)


def names(text: str, *found: tuple[str, str], boxes: tuple[Box, ...] = ()) -> Post:
    gold = [GoldEntity(span, text.index(span), text.index(span) + len(span), type_, boxes) for span, type_ in found]
    return Post("n", text, Image.new("RGB", (100, 100)), tuple(gold), grounded=False)


def chains_of(post: Post) -> list[str]:
    """Chains of all templates, a few wordings of each."""
    facts = Facts.of(post, FRAME)
    return [write_chain(style, facts, random.Random(seed)) for style in TEMPLATES.values() for seed in range(3)]


@pytest.mark.parametrize(
    "text",
    [
        'the "red" dog', "who is it?", "dog: left; cat", "a dog. a cat", "man\nin red", "PER", "Boxes: the dog",
        "not shown in the picture", "So 2 boxes", "the dog [1,2,3,4]", "  dog ", "EXPRESSION", "\\", "\u72ac",
        "Only named: x", "a | b",
    ],
)  # fmt: skip
def test_odd_expressions_have_chains(text: str):
    for boxes in ((), (LEFT,), (RIGHT, LEFT), (LEFT, LEFT)):
        facts = Facts.of(expression(text, *boxes), FRAME)
        assert not [problem for chain in chains_of(expression(text, *boxes)) for problem in check_chain(chain, facts)]


def test_names_of_control_characters_are_not_looked_for():
    assert not check_chain("So no boxes.", Facts.of(expression("\x01"), FRAME))


def test_the_targets_alone_say_what_an_expression_means():
    scene = (SceneObject("Mira Voss", "PER", RIGHT),)
    facts = Facts.of(expression("Mira Voss", LEFT, scene=scene), FRAME)
    assert not check_chain("Mira Voss is shown at [100,100,200,300].", facts)
    assert check_chain("Mira Voss is shown at [500,100,600,300].", facts)[0].kind == Contradiction.WRONG_BOX


def test_an_expression_has_no_type():
    facts = replace(Facts.of(expression("the person on the left", LEFT), FRAME), labels=("person", "other"))
    shown = "the person on the left is shown at [100,100,200,300]"
    assert not check_chain(f"A person stands there. {shown}.", facts)
    for said in ("the person on the left (person)", f"the person on the left is {EXPRESSION}"):
        assert check_chain(f"{said}. {shown}.", facts)[0].kind == Contradiction.UNANNOTATED


@pytest.mark.parametrize(
    ("post", "others"),
    [
        (names("Ado and Ado, said Mira", ("Ado", "PER")), "Mira"),
        (names("#TeamIndia wins", ("India", "LOC")), "none"),
        (names("Ado got PER DIEM", ("Ado", "LOC")), "DIEM"),
        (names("E\u0301cole of Ado", ("Ado", "PER")), "E\u0301cole"),
        (names("Seen Not Shown", ("Seen", "OTHER")), "Not, Shown"),
    ],
)
def test_other_words_are_no_names(post: Post, others: str):
    assert any(f"Other words: {others}." in chain for chain in chains_of(post))
    facts = Facts.of(post, FRAME)
    assert not [problem for chain in chains_of(post) for problem in check_chain(chain, facts)]


def test_mixed_ids_are_unique():
    def ids(*sets: list[Post]) -> list[str]:
        return [post.id for post in gmner.mix_posts(*sets)]

    one = [Post("17", "a")]
    assert ids(gmner.mix_posts(one, one), one) == ["17", "2/17", "2/2/17"]
    assert ids(one, [Post("2/17", "b"), Post("17", "c")]) == ["17", "2/17", "2/2/17"]


def test_boxes_of_posts_without_regions_earn_nothing():
    post = names("Ado sings", ("Ado", "PER"), boxes=(LEFT,))
    row = {name: [value] for name, value in reward_columns(post, FRAME).items()}
    answer = '{"reasoning":"","mentions":[{"span":"Ado","type":"PER"}]}'
    found = {reward.name: reward([answer], **row)[0] for reward in cvo()}
    assert found == {"count": 1, "span": 1, "type": 1, "grounding": None, "entailment": None}


def test_own_rewards_of_a_staged_program_see_every_task():
    @gmner.rewards.judged
    def pairs(judgement: gmner.rewards.Judgement) -> float:
        return float(judgement.n_pred == len(judgement.findings))

    student = StagedGMNER(scripted_lm({}))
    posts = [World().post("train", 0), names("Ado sings", ("Ado", "PER")), expression("dog", LEFT)]
    nothing = {"named": 0, "mentions": [], "visible": [], "boxes": []}
    calls = student.rollout_calls(posts, [], lambda _, asked: [nothing for _ in asked])
    rows = gmner.CVO(rewards=[pairs]).rows(calls, student.adapter())
    columns = {name: rows[name] for name in rows.column_names}
    assert (columns["task"], [bool(call) for call in columns["call"]]) == (
        ["gmner", "mner", "grec"],
        [True, False, False],
    )
    answers = [
        '{"mentions":[]}',
        '{"reasoning":"","mentions":[{"span":"Ado","type":"PER"}]}',
        '{"reasoning":"","boxes":[[100,100,200,300],[1,2,3,4]]}',
    ]
    assert pairs(answers, **columns) == [0, 1, 0]
    assert gmner.rewards.whole_answers(answers, **columns)[1:] == answers[1:]


@pytest.mark.parametrize("settings", [{"answers": 3}, {"confidence": True}])
def test_a_program_that_votes_answers_expressions(settings: dict[str, Any]):
    program = GMNER(scripted_lm({"reasoning": "", "boxes": [[100, 100, 200, 300]]}), **settings)
    answers = answer_by_task(program, [expression("dog", LEFT)], progress=False)
    (answer,), (post,) = answers, answers.posts
    assert post.text == answer.text
    assert answer.error is None
    assert answer.entities[0].box == LEFT
    assert (program.answers, program.confidence) == (settings.get("answers", 1), settings.get("confidence", False))


def test_tasks_are_not_scored_together():
    own, expressions = World().posts("dev", 2), [expression("dog", LEFT)]
    with pytest.raises(InputError, match="contain referring expressions"):
        gmner.evaluate([], [*own, *expressions])
    student = GMNER(scripted_lm({"reasoning": "", "entities": []}))
    with pytest.raises(InputError, match="validation set contain referring expressions"):
        student.compile(trainset=own, valset=expressions, optimizer=gmner.MCR(progress=False))


def test_weights_and_tasks_that_leave_nothing_are_refused(program: Callable[[str], GMNER]):
    with pytest.raises(InputError, match="task_weights leaves no post"):
        program("qwen2_5_vl").compile(trainset=World().posts("train", 2), optimizer=small(task_weights={"gmner": 0}))
    demonstrated = small(mrsi={"demonstrations": gmner.Demonstrations(count=1)})
    with pytest.raises(InputError, match="No post can become a demonstration"):
        program("qwen2_5_vl").compile(trainset=[expression("dog", LEFT)], optimizer=demonstrated)


def test_the_prompt_of_each_task_is_measured(program: Callable[[str], GMNER]):
    student = program("qwen2_5_vl")
    engine: Any = student.model.engine
    measured, post = _Lengths(student, ChatEncoder(engine.processor)), expression("dog", LEFT)
    before = [measured.of(post, most) for most in (0, 10**6)]
    image = Image.new("RGB", (100, 100))
    student.set_demonstrations([{"text": "Ado", "image": image, "reasoning": "so " * 50, "entities": []}] * 3)
    measured = _Lengths(student, ChatEncoder(engine.processor))
    assert [measured.of(post, most) for most in (0, 10**6)] == before
    assert measured.of(World().post("train", 0), 0) > 2 * before[0]


def test_an_entity_type_must_not_be_called_like_an_expression():
    report = gmner.check_posts([expression("dog", LEFT)], ["PER", EXPRESSION], tasks=GMNER.tasks)
    assert [fault.kind for fault in report.faults] == ["expression"]


def test_an_expression_must_be_at_its_place():
    moved = replace(expression("dog", LEFT), entities=(GoldEntity("dog", 3, 6, EXPRESSION, (LEFT,)),))
    assert [fault.kind for fault in gmner.check_posts([moved], tasks=GMNER.tasks).faults] == ["offsets"]


def test_no_chains_are_written_that_nothing_learns_from(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    asked: list[str] = []

    def answer(request: Any) -> Any:
        asked.append(request.system or "")
        return "[[ ## chain ## ]]\nnothing"

    own, related = World().posts("train", 4), [expression("dog", LEFT), names("Ado sings", ("Ado", "PER"))]
    student = GMNER(scripted_lm({"reasoning": "", "entities": []}))
    optimizer = gmner.MCR(mrsi=MRSI(styles={"own": LLMStyle(scripted_lm(answer), attempts=1)}), progress=False)
    student.compile(trainset=[*own, *related], optimizer=optimizer, run_dir=tmp_path)
    assert len(asked) == 4
    assert {*ReasoningSet.load(tmp_path / "chains").d1} == {post.id for post in own}
    assert "2 posts of related tasks are not used" in caplog.text


def small(**given: Any) -> gmner.MCR:
    """A few steps of both stages."""
    mrsi = {"styles": ["text_first", "table"], "max_steps": 1, "batch": 2, "tuning": "lora", **given.pop("mrsi", {})}
    cvo = {"max_steps": 1, "prompts": 2, "generations": 2, "max_completion_length": 100, "redraws": 0, "tuning": "lora"}
    cvo |= given.pop("cvo", {})
    return gmner.MCR(mrsi=MRSI(**mrsi), cvo=gmner.CVO(**cvo), progress=False, **{"holdout": 0, **given})


@pytest.mark.nightly
@pytest.mark.parametrize("kind", [GMNER, StagedGMNER])
def test_dry_runs_and_filters_of_a_weighted_mixture(
    program: Callable[[str], GMNER],
    tmp_path: Path,
    kind: type[GMNER] | type[StagedGMNER],
    capsys: pytest.CaptureFixture[str],
):
    student = kind(program("qwen2_5_vl").model, limits=program("qwen2_5_vl").limits)
    optimizer = small(
        task_weights={"gmner": 2, "mner": 0}, learnable_answers=2, d1_share=0.5, mrsi={"per_post": 2, "answers": False}
    )
    student.compile(trainset=mixture(), optimizer=optimizer, dry_run=True)
    assert "cvo" in capsys.readouterr().out
    compiled: Any = student.compile(trainset=mixture(), optimizer=optimizer, run_dir=tmp_path)
    assert list(compiled.history.programs) == ["before", "mrsi", "cvo"]
    assert ReasoningSet.load(tmp_path / "chains").counts(mixture()).tasks.keys() == {"gmner", "grec"}
    (tmp_path / "cvo" / "done.json").unlink()
    again: Any = student.compile(trainset=mixture(), optimizer=optimizer, run_dir=tmp_path)
    assert list(again.history.programs) == ["before", "mrsi", "cvo"]
    other = small(task_weights={"gmner": 1}, learnable_answers=2, d1_share=0.5, mrsi={"per_post": 2, "answers": False})
    with pytest.raises(gmner.GmnerError, match="task_weights"):
        student.compile(trainset=mixture(), optimizer=other, run_dir=tmp_path)
    given = small(mrsi={"chains_from": tmp_path / "chains"}, task_weights={"grec": 0}, cvo={"rewards": ["grounding"]})
    rest = [post for post in mixture() if post.task != "mner"]
    assert student.compile(trainset=rest, optimizer=given).history.chosen == "cvo"


def test_tasks_without_a_reward_are_known():
    @gmner.rewards.judged
    def own(judgement: gmner.rewards.Judgement) -> float:
        return 1.0

    posts = [*World().posts("train", 1), names("Ado sings", ("Ado", "PER")), expression("dog", LEFT)]
    for post, rewards in ((posts[1], APPLIED["mner"]), (posts[2], APPLIED["grec"])):
        row = {name: [value] for name, value in reward_columns(post, FRAME).items()}
        answer = '{"reasoning":"","mentions":[]}' if post.task == "mner" else '{"reasoning":"","boxes":[]}'
        assert {reward.name for reward in cvo() if reward([answer], **row) != [None]} == rewards
    for chosen, left in ((["grounding"], ["mner"]), (["span"], ["grec"]), (cvo(), []), (["span", own], [])):
        assert unrewarded(posts, gmner.CVO(rewards=chosen).reward_set) == left


def test_a_step_in_which_no_reward_applies_shows_no_figure():
    bar: Any = StageBar("CVO", 1, {"reward": "reward", "loss": "loss"}, show=False)
    shown: list[dict[str, str]] = []
    bar._bar = SimpleNamespace(set_postfix=shown.append)
    bar.on_log(None, None, None, {"reward": None, "loss": 0.0})
    bar.on_log(None, None, None, {"reward": None})
    assert shown == [{"loss": "0.00"}]
