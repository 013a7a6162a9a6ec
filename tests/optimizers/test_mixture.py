"""Training sets with posts of several tasks: chains, checker, rewards, weights, and a compile of a few steps."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mixtures import mixture
from PIL import Image
from scripted import scripted_lm, words_of

import gmner
from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.optimizers.chains.chain_log import chain_of
from gmner.optimizers.chains.checker import Contradiction, check_chain
from gmner.optimizers.chains.reasoning_set import ReasoningSet, post_digest
from gmner.optimizers.chains.split import split_posts, stratum
from gmner.optimizers.chains.styles import TEMPLATES, write_chain
from gmner.optimizers.chains.styles.facts import Facts
from gmner.optimizers.chains.styles.model_written import LLMStyle, MLLMStyle
from gmner.optimizers.chains.writing import ChainWriting, write_chains
from gmner.optimizers.cvo import CVO
from gmner.optimizers.filtering import f1_metric
from gmner.optimizers.mixture import drawn
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.plain_settings import with_settings
from gmner.optimizers.rewards import cvo, judgements, reward_columns
from gmner.optimizers.training.rollouts import read_rollouts
from gmner.optimizers.training.rows import program_rows, rollout_rows
from gmner.optimizers.training_set import held_out
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import EXPRESSION, GoldEntity, expression_entity
from gmner.signatures.schema import Limits
from gmner.signatures.tasks import GroundExpression, NameEntities
from gmner.signatures.wire import Frame

FRAME = Frame(BoxFormat(), (100, 100))
DOGS = "the two dogs on the left"
LEFT, RIGHT = Box(10, 10, 20, 30), Box(50, 10, 60, 30)


def expression(*boxes: Box, id: str = "dogs") -> Post:
    return Post(id, DOGS, Image.new("RGB", (100, 100)), (GoldEntity(DOGS, 0, len(DOGS), EXPRESSION, boxes),))


def names(id: str = "names") -> Post:
    text = "Mira Voss meets Ado on Monday"
    entities = (GoldEntity("Mira Voss", 0, 9, "PER"), GoldEntity("Ado", 16, 19, "PER"))
    return Post(id, text, Image.new("RGB", (100, 100)), entities, grounded=False)


def test_task_of_a_post():
    assert [names().task, expression().task, World().post("train", 0).task] == ["mner", "grec", "gmner"]
    part = Post("part", f"see {DOGS}", entities=(GoldEntity(DOGS, 4, 4 + len(DOGS), EXPRESSION),))
    assert part.task == "gmner"


@pytest.mark.parametrize("style", TEMPLATES)
@pytest.mark.parametrize("post", [names(), replace(names(), entities=()), expression(RIGHT, LEFT), expression()])
def test_chains_state_what_is_annotated(style: str, post: Post):
    facts = Facts.of(post, FRAME)
    for seed in range(4):
        chain = write_chain(TEMPLATES[style], facts, random.Random(seed))
        assert not check_chain(chain, facts)
        if post.task == "mner":
            assert "shown" not in chain
            assert "[" not in chain
            assert all(entity.span in chain for entity in post.gold)
        else:
            assert ("[100,100,200,300], [500,100,600,300]" in chain) is bool(post.gold[0].boxes)
            assert EXPRESSION not in chain


def test_styles_differ_in_both_tasks():
    for post in (names(), expression(LEFT, RIGHT)):
        chains = {write_chain(style, Facts.of(post, FRAME), random.Random(0)) for style in TEMPLATES.values()}
        assert len(chains) == len(TEMPLATES)


@pytest.mark.parametrize(
    ("post", "chain", "kind"),
    [
        (names(), "Mira Voss (PER) is not shown. Ado (PER).", Contradiction.UNANNOTATED),
        (names(), "Mira Voss (PER) [1,2,3,4]. Ado (PER).", Contradiction.UNANNOTATED),
        (names(), "Mira Voss (PER). Ado (LOC).", Contradiction.WRONG_TYPE),
        (names(), "Mira Voss (PER).", Contradiction.MISSING_SPAN),
        (names(), "Mira Voss (PER), Ado.", Contradiction.UNSAID),
        (names(), "Mira Voss (PER), Ado (PER). So 3 entities.", Contradiction.WRONG_COUNT),
        (names(), "Mira Voss (PER), Ado (PER). A crowd is seen in the picture. So 2 entities.", None),
        (expression(LEFT, RIGHT), f"{DOGS} is shown at [100,100,200,300].", Contradiction.UNSAID),
        (expression(LEFT), f"{DOGS} is shown at [100,100,200,310].", Contradiction.WRONG_BOX),
        (expression(LEFT), f"{DOGS} is not shown.", Contradiction.WRONG_VISIBILITY),
        (expression(), f"{DOGS} is shown.", Contradiction.WRONG_VISIBILITY),
        (expression(LEFT), f"{DOGS} is shown at [100,100,200,300]. So 2 boxes.", Contradiction.WRONG_COUNT),
        (expression(LEFT), "It is shown at [100,100,200,300]. So 1 box.", Contradiction.MISSING_SPAN),
        (expression(LEFT), f"I look for {DOGS}. It is shown at [100,100,200,300]. So 1 box.", None),
        (expression(), f"I look for {DOGS}. A cat is seen in the picture. So {DOGS}: not shown.", None),
        (expression(), f"I look for {DOGS}. A cat is there. So it is not shown.", None),
        (expression(), f"I look for {DOGS}. A cat is there. Yes, it is shown.", Contradiction.WRONG_VISIBILITY),
        (names(), "Mira Voss (PER), Ado (PER). They are shown.", Contradiction.UNANNOTATED),
        (names(), "Mira Voss (PER), Ado (PER). Is Ado a person? Yes.", None),
    ],
)
def test_checker_knows_the_tasks(post: Post, chain: str, kind: Contradiction | None):
    problems = check_chain(chain, Facts.of(post, FRAME))
    assert [problem.kind for problem in problems][:1] == ([] if kind is None else [kind])


@pytest.mark.parametrize("style", [LLMStyle, MLLMStyle])
def test_a_teacher_is_told_what_is_annotated(style: type[LLMStyle]):
    asked: list[str] = []

    def answer(request: Any) -> str:
        asked.append(request.system)
        return f"[[ ## chain ## ]]\n{'Mira Voss (PER), Ado (PER).' if len(asked) == 1 else f'{DOGS}: not shown.'}"

    teacher = style(scripted_lm(answer))
    for post in (names(), expression()):
        assert teacher(Facts.of(post, FRAME), random.Random(0)).problem == ""
    assert "Do not say whether a picture shows a name" in asked[0]
    assert "all boxes of the draft" in asked[1]
    assert "verbatim with its type" not in asked[1]


def test_chains_keep_every_box(tmp_path: Path):
    post = replace(expression(LEFT, replace(RIGHT, picture=2)), more_images=(Image.new("RGB", (100, 100)),))
    frame = replace(FRAME, more=(((100, 100), None),))
    (chain,) = write_chains([post], {post.id: frame}, ChainWriting(TEMPLATES), random.Random(0))
    assert chain.entities[0]["more_boxes"] == [[50, 10, 60, 30, 2]]
    assert chain_of(json.dumps(chain.to_record()).encode()) == chain
    for more in ([[1, 2, 3]], "none", [[50, 10, 60, 30, 0]]):
        broken = {**chain.to_record(), "entities": [{**chain.entities[0], "more_boxes": more}]}
        with pytest.raises(DataError):
            chain_of(json.dumps(broken).encode())
    second = {**chain.entities[0], "picture": 2, "more_boxes": []}
    assert chain_of(json.dumps({**chain.to_record(), "entities": [second]}).encode()).entities == (second,)
    with pytest.raises(DataError, match="require `box`"):
        chain_of(json.dumps({**chain.to_record(), "entities": [{**second, "box": None}]}).encode())


def test_split_is_stratified_by_task():
    posts = [*(replace(names(), id=f"n{i}") for i in range(8)), *(expression(LEFT, id=f"e{i}") for i in range(4))]
    assert {stratum(post) for post in [*posts, expression()]} == {"mner", "grec shown", "grec absent"}
    first, second = split_posts(posts, 0.5, random.Random(0))
    assert [sum(post.task == "mner" for post in half) for half in (first, second)] == [4, 4]
    assert post_digest(names()) != post_digest(replace(names(), grounded=True))


def test_held_out_posts_are_of_one_task():
    many = [replace(names(), id=f"n{i}") for i in range(60)]
    rest, out = held_out([*many, *(expression(LEFT, id=f"e{i}") for i in range(20))], 0.1, 0)
    assert out is not None
    assert {post.task for post in out} == {"mner"}
    assert len(out) == 16
    assert len(rest) == 64
    own = World().posts("train", 48)
    _, out = held_out([*many, *own], 0.1, 0)
    assert out is not None
    assert {post.task for post in out} == {"gmner"}


def test_weights_of_tasks():
    posts = [*(replace(names(), id=f"n{i}") for i in range(4)), *(expression(LEFT, id=f"e{i}") for i in range(4))]
    ids = [post.id for post in drawn(posts, lambda post: post.task, {"mner": 1.5, "grec": 0.5}, 0)]
    assert [sum(id.startswith(kind) for id in ids) for kind in "ne"] == [6, 2]
    assert {id for id in ids if id.startswith("n")} == {"n0", "n1", "n2", "n3"}
    assert drawn(posts, lambda post: post.task, {}, 0) == posts
    for weights in ({"ner": 1}, {"mner": -1}, {"mner": "two"}, [1]):
        with pytest.raises(InputError, match="task_weights"):
            gmner.MCR(task_weights=weights)  # type: ignore[arg-type]


def answered(post: Post, answer: Any) -> dict[str, float | None]:
    """The five rewards of an answer."""
    row = {name: [value] for name, value in reward_columns(post, FRAME).items()}
    return {reward.name: reward([json.dumps(answer)], **row)[0] for reward in cvo()}


def test_rewards_of_names():
    mira = {"span": "Mira Voss", "type": "PER"}
    right = answered(names(), {"reasoning": "", "mentions": [mira, {"span": "Ado", "type": "PER"}]})
    assert right == {"count": 1, "span": 1, "type": 1, "grounding": None, "entailment": None}
    half = answered(names(), {"reasoning": "", "mentions": [mira]})
    assert half == {"count": 0.5, "span": pytest.approx(2 / 3), "type": 0.5, "grounding": None, "entailment": None}
    for invalid in ({"reasoning": "", "entities": []}, {"reasoning": "", "mentions": [{**mira, "box": None}]}):
        assert set(answered(names(), invalid).values()) == {0.0}


def test_rewards_of_expressions():
    left, right, between = [100, 100, 200, 300], [500, 100, 600, 300], [300, 300, 400, 400]
    both = expression(LEFT, RIGHT)
    unjudged = {"count": None, "span": None, "type": None}
    for boxes, grounding, entailment in (
        ([right, left], 1, 1), ([left], 0.5, 1), ([left, left], 0.5, 1), ([left, right, between], 2 / 3, 1),
        ([between], 0, 1), ([], 0, 0),
    ):  # fmt: skip
        expected = {**unjudged, "grounding": pytest.approx(grounding), "entailment": entailment}
        assert answered(both, {"reasoning": "", "boxes": boxes}) == expected
    assert answered(expression(), {"reasoning": "", "boxes": []}) == {**unjudged, "grounding": None, "entailment": 1}
    assert answered(expression(), {"reasoning": "", "boxes": [left]}) == {
        **unjudged, "grounding": None, "entailment": 0,
    }  # fmt: skip
    assert set(answered(both, {"reasoning": "", "boxes": [[1, 2, 3]]}).values()) == {0.0}


def test_rewards_of_one_batch_with_all_tasks():
    adapter, posts = GMNER(scripted_lm({})).adapter(), [names(), expression(LEFT), World().post("train", 0)]
    student = GMNER(scripted_lm({}))
    calls = student.rollout_calls(posts, [], lambda answer, asked: [])
    columns = [reward_columns(call.post, adapter.request(call.inputs).frame) for call in calls]
    rows = rollout_rows(calls, adapter, columns)
    assert rows["task"] == ["mner", "grec", "gmner"]
    assert [call.signature for call in calls[:2]] == [NameEntities, GroundExpression]
    batch = {name: rows[name] for name in ("post_text", "gold", "size", "resized", "task")}
    answers = ['{"reasoning":"","mentions":[]}', '{"reasoning":"","boxes":[]}', '{"reasoning":"","entities":[]}']
    found = judgements(answers, **batch)
    assert [judgement and judgement.task for judgement in found] == ["mner", "grec", "gmner"]


def test_rows_have_the_prompts_of_inference():
    student, posts = GMNER(scripted_lm({"reasoning": "", "mentions": []})), [names(), expression(LEFT, RIGHT)]
    adapter, by_id = student.adapter(), {post.id: post for post in posts}
    chains = MRSI(styles=["table"]).chains(posts, adapter, random.Random(0))
    rows = program_rows(student, chains, by_id, adapter, [])
    completions = [json.loads(row[0]["content"][0]["text"]) for row in rows["completion"]]
    assert completions[0]["mentions"] == [{"span": "Mira Voss", "type": "PER"}, {"span": "Ado", "type": "PER"}]
    assert completions[1]["boxes"] == [[100, 100, 200, 300], [500, 100, 600, 300]]
    student.extract_names(posts[0].text, posts[0].image)
    request = student.model.engine.requests[-1]
    sent = request.system + words_of(request)
    trained = [part["text"] for message in rows["prompt"][0] for part in message["content"] if part["type"] == "text"]
    assert all(text in sent for text in trained)


def test_filter_scores_each_task():
    mention = [gmner.GroundedEntity(e.span, e.start, e.end, e.type) for e in names().gold]
    assert f1_metric(names(), gmner.Prediction("names", names().text, "", tuple(mention))) == 1
    for boxes, score in (((LEFT, RIGHT), 1), ((LEFT,), 2 / 3), ((), 0)):
        prediction = gmner.Prediction("dogs", DOGS, "", (expression_entity(DOGS, boxes),))
        assert f1_metric(expression(RIGHT, LEFT), prediction) == score


def test_refusals():
    student = GMNER(scripted_lm({"reasoning": "", "entities": []}))
    with pytest.raises(InputError, match="No post can become a demonstration"):
        student.compile(trainset=[names(), expression(LEFT)], optimizer=gmner.MCR())
    own = World().posts("train", 2)
    with pytest.raises(InputError, match="validation set contain referring expressions"):
        student.compile(trainset=own, valset=[*World().posts("dev", 1), expression(LEFT)], optimizer=gmner.MCR())
    unboxed = replace(expression(), grounded=False)
    with pytest.raises(InputError, match="regions are not annotated"):
        student.compile(trainset=[*own, unboxed], optimizer=gmner.MCR())
    outside = expression(Box(10, 10, 200, 30))
    with pytest.raises(InputError, match="beyond the image"):
        student.compile(trainset=[*own, expression(LEFT, id="a"), outside], optimizer=gmner.MCR())


def test_demonstrations_are_whole_answers(caplog: pytest.LogCaptureFixture):
    student = GMNER(scripted_lm({"reasoning": "", "entities": []}))
    compiled = student.compile(trainset=mixture(pictures=2), optimizer=gmner.MCR(progress=False))
    demos = compiled.answer.demos
    assert demos
    assert all(demo["post_id"].startswith("train-") for demo in demos)
    assert "8 posts of related tasks are not used" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", [GMNER, StagedGMNER])
def test_a_compile_on_a_mixture(program: Callable[[str], GMNER], tmp_path: Path, kind: type[GMNER] | type[StagedGMNER]):
    student = kind(program("qwen2_5_vl").model, limits=program("qwen2_5_vl").limits)
    optimizer = gmner.MCR(
        mrsi=MRSI(styles=["text_first", "table"], max_steps=2, batch=4, tuning="lora"),
        cvo=CVO(max_steps=3, prompts=4, generations=2, max_completion_length=400, redraws=0, tuning="lora", rate=1e-2),
        task_weights={"mner": 2, "grec": 0.5}, holdout=0, progress=False,
    )  # fmt: skip
    compiled: Any = student.compile(trainset=mixture(pictures=2), optimizer=optimizer, run_dir=tmp_path / "run")
    assert compiled.history.programs.keys() == {"before", "mrsi", "cvo"}
    made = ReasoningSet.load(tmp_path / "run" / "chains")
    assert made.counts(mixture(pictures=2)).tasks == {"gmner": 8, "grec": 8, "mner": 8}  # two per post
    seen = {rollout.post_id.partition("-")[0]: rollout.rewards for rollout in read_rollouts(tmp_path / "run" / "cvo")}
    assert {"names", "expression", "train"} == seen.keys()
    assert not seen["expression"]["span"]  # 0 for an invalid answer, which a random model may give
    assert not seen["names"]["grounding"]
    assert (tmp_path / "run" / "cvo" / "rollouts.html").is_file()
    post = expression(LEFT)
    assert compiled.ground_expression(post.text, post.image).entities[0].type == EXPRESSION
    assert all(entity.box is None for entity in compiled.extract_names(names().text, names().image).entities)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["qwen2.5-vl-7b", "mimo-vl-7b"])
def test_presets_of_the_paper_on_real_posts_and_a_mixture(
    program: Callable[[str], GMNER], twitter_root: Path, tmp_path: Path, name: str
):
    splits = (gmner.read_twitter_gmner(twitter_root, split) for split in ("train", "dev"))
    real = [post for split in splits for post in split if post.images]
    fewer = {"mrsi": {"max_steps": 1}, "cvo": {"max_steps": 1, "max_completion_length": 700}, "progress": False}
    optimizer = with_settings(gmner.preset(name), fewer)
    related = mixture(pictures=2)[4:]
    posts = gmner.mix_posts(real, related)
    limits = Limits(reasoning=8, entities=max(len(post.gold) for post in posts))
    student = GMNER(program("qwen2_5_vl").model, limits=limits)
    compiled: Any = student.compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path)
    assert list(compiled.history.programs) == ["before", "mrsi", "cvo"]
    assert len({rollout.post_id for rollout in read_rollouts(tmp_path / "cvo")}) == 8
    counts = ReasoningSet.load(tmp_path / "chains").counts(posts)
    assert counts.tasks == {"gmner": len(real), "mner": 4, "grec": 4}
    assert len(real) >= 18
    assert compiled.ground_expression(related[-1].text, related[-1].image).entities[0].type == EXPRESSION
    assert all(not e.boxes for e in compiled.extract_names(related[0].text, images=related[0].images).entities)
