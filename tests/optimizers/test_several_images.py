"""Posts with several images in training: chains, checker, demonstrations, rows, rewards, two steps of a stage."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
import torch
from scripted import pictures_of, scripted_lm
from several_images import SIZES, TEXT, gold, post, posts
from tiers import daily

import gmner
from gmner.data.post import Post
from gmner.optimizers.chains.checker import Contradiction, check_chain
from gmner.optimizers.chains.demonstrations import DemoWriter, check_demonstrations
from gmner.optimizers.chains.reasoning_set import post_digest
from gmner.optimizers.chains.styles import TEMPLATES, write_chain
from gmner.optimizers.chains.styles.facts import Facts
from gmner.optimizers.chains.styles.model_written import MLLMStyle
from gmner.optimizers.cvo import CVO
from gmner.optimizers.gold_digest import gold_digest
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.rewards import judgements, reward_columns
from gmner.optimizers.rewards.staged_calls import whole_answer
from gmner.optimizers.training.lengths import within_context
from gmner.optimizers.training.program_calls import answer_calls
from gmner.optimizers.training.rows import rollout_rows, tuning_rows
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import ModelProfile, ResizeRule
from gmner.programs.staged import StagedGMNER
from gmner.programs.staged_calls import staged_calls, trace_of, traced
from gmner.programs.trainable import post_inputs
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError
from gmner.signatures.forms import form_of
from gmner.signatures.labels import COARSE
from gmner.signatures.schema import Limits

Programs = Callable[[str], GMNER]
PIXELS = ModelProfile(BoxFormat("original"))


def program(profile: ModelProfile = PIXELS, answer: Any = None) -> GMNER:
    return GMNER(scripted_lm(answer or {"reasoning": "", "entities": []}, profile))


def facts_of(one: Post, profile: ModelProfile = PIXELS) -> Facts:
    return Facts.of(one, program(profile).adapter().request(post_inputs(one)).frame)


@pytest.mark.parametrize("style", TEMPLATES)
def test_chains_name_the_image_of_each_box(style: str):
    facts = facts_of(post())
    for seed in range(5):
        chain = write_chain(TEMPLATES[style], facts, random.Random(seed))
        assert not check_chain(chain, facts)
        assert style == "no_reasoning" or "[12,6,60,42] of picture 3" in chain
    alone = facts_of(replace(post(), more_images=(), entities=gold()[:1]))
    assert "of picture" not in write_chain(TEMPLATES[style], alone, random.Random(0))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("[12,6,60,42] of picture 3", None),
        ("[12,6,60,42] in picture 3", None),
        ("[12,6,60,42] (image 3)", None),
        ("[12,6,60,42] of picture 2", Contradiction.WRONG_BOX),
        ("[12,6,60,43] of picture 1", Contradiction.WRONG_BOX),
        ("picture 3 at [12,6,60,42]", None),
        ("picture 1 at [12,6,60,42]", Contradiction.WRONG_BOX),
        ("[12,6,60,42]", Contradiction.UNSAID),
    ],
)
def test_checker_compares_the_image(said: str, kind: Contradiction | None):
    one = replace(post(), entities=gold()[1:2])
    chain = f"Bo (PER) is shown, {said}. So 1 entity."
    assert [problem.kind for problem in check_chain(chain, facts_of(one))] == ([] if kind is None else [kind])


def test_model_that_writes_chains_sees_all_images():
    lm = scripted_lm(lambda _: "[[ ## chain ## ]]\nI see Bo (PER), shown at [12,6,60,42] of picture 3. So 1 entity.")
    draft = MLLMStyle(lm)(facts_of(replace(post(), entities=gold()[1:2])), random.Random(0))
    assert (draft.author, draft.problem) == ("mllm", "")
    (request,) = lm.engine.requests
    assert [picture.size for picture in pictures_of(request)] == list(SIZES)
    assert "of picture 2" in request.system
    one = scripted_lm(lambda _: "[[ ## chain ## ]]\nAda (PER) is shown at [9,6,45,54]. So 1 entity.")
    MLLMStyle(one)(facts_of(replace(post(), entities=gold()[:1], more_images=())), random.Random(0))
    assert "of picture" not in one.engine.requests[0].system
    assert "more_images" not in one.engine.requests[0].system


@pytest.mark.parametrize(
    "profile",
    [
        PIXELS,
        ModelProfile(BoxFormat("resized"), rule=ResizeRule(4, 16, 10**6)),
        ModelProfile(BoxFormat("original", order="yxyx")),
        ModelProfile(BoxFormat(form="floats")),
    ],
)
def test_demonstrations_have_small_copies_of_all_images(profile: ModelProfile, tmp_path: Path):
    student, one = program(profile), post()
    (chain,) = MRSI(styles=["table"]).chains([one], student.adapter(), random.Random(0))
    demo = DemoWriter({one.id: one}, student.adapter(), tmp_path, side=48)(chain)
    assert check_demonstrations([demo], COARSE) == ()
    student.set_demonstrations([demo])
    student(text=TEXT, image=None)
    shown = pictures_of(student.model.engine.requests[0])
    assert [max(picture.size) for picture in shown] == [48] * 3
    answer = json.loads(student.adapter().answer(student.answer.signature, demo))
    for record in answer["entities"]:
        where = f"{json.dumps(record['box'], separators=(',', ':'))} of picture {record['picture']}"
        assert record["box"] is None or where in demo["reasoning"]
    demo["more_images"] = demo["more_images"][:1]
    with pytest.raises(InputError, match="a box in image 3, but there are 2 images"):
        check_demonstrations([demo], COARSE)


def test_digests_cover_all_images_and_the_images_of_boxes():
    one = post()
    moved = (gold()[0], replace(gold()[1], boxes=(replace(gold()[1].boxes[0], picture=2),)), *gold()[2:])
    others = [replace(one, more_images=one.more_images[::-1]), replace(one, entities=moved)]
    assert len({post_digest(each) for each in (one, *others)}) == 3
    assert gold_digest([one]) != gold_digest([others[1]])


def test_rewards_count_a_box_only_in_its_image():
    student, one = program(), post()
    frame = student.adapter().request(post_inputs(one)).frame
    columns = {name: [value] * 3 for name, value in reward_columns(one, frame).items()}
    right = json.loads(student.adapter().answer(student.answer.signature, {**post_inputs(one), "entities": gold()}))
    moved, unnumbered = json.loads(json.dumps(right)), json.loads(json.dumps(right))
    moved["entities"][1]["picture"] = 2
    moved["entities"][1]["box"] = [12, 6, 60, 42]
    for record in unnumbered["entities"]:
        del record["picture"]
    answers = [json.dumps(answer) for answer in (right, moved, unnumbered)]
    judged = judgements(answers, **columns, box_format=PIXELS.box_format)
    assert [finding.iou for finding in judged[0].findings] == [1, 1, 1, 0]
    assert [finding.iou for finding in judged[1].findings] == [1, 0, 1, 0]
    assert judged[2] is None


def test_rows_carry_lists_of_images():
    student = program()
    pair = [post("a"), Post("b", "Ada", post().image, gold()[:1])]
    calls, adapter = answer_calls(pair, student.answer.signature, []), student.adapter()
    rows = CVO().rows(calls, adapter)
    assert [len(row["images"]) for row in rows] == [3, 1]
    assert [bool(value) for value in rows["more_sizes"]] == [True, False]
    alone = rollout_rows(calls[1:], adapter, [reward_columns(pair[1], adapter.request(calls[1].inputs).frame)])
    assert "more_sizes" not in alone.column_names
    chains = MRSI().chains(pair, adapter, random.Random(0))
    table = tuning_rows(chains, {p.id: p for p in pair}, adapter, student.answer.signature, [])
    assert {len(row["images"]) for row in table} == {1, 3}
    for row in [*rows, *table]:
        assert sum(part["type"] == "image" for m in row["prompt"] for part in m["content"]) == len(row["images"])


def test_calls_of_a_staged_program():
    def answer(request: Any) -> dict[str, Any]:
        words = json.dumps(request.config.response_format)
        if '"mentions"' in words:
            return {"mentions": [{"span": "Bo", "type": "PER"}]}
        return {"evidence": "", "visible": True} if '"visible"' in words else {"region": None}

    one = replace(post(), entities=gold()[1:2])
    staged = StagedGMNER(scripted_lm(answer, PIXELS))
    records = json.loads(json.dumps(traced(staged, [one], progress=False)))
    calls = staged_calls(staged, [one], {one.id: trace_of(records[0])})
    frame = staged.adapter().request(post_inputs(one)).frame
    said = {
        "extract": {"mentions": [{"span": "Bo", "type": "PER"}, {"span": "Ada", "type": "PER"}]},
        "verify": {"evidence": "", "visible": False},
        "ground": {"region": {"picture": 3, "box": [12, 6, 60, 42]}},
    }
    stages = [json.loads(call.rest)["stage"] for call in calls]
    assert stages == ["extract", "verify", "ground"]
    form = form_of(["reasoning", "entities"])
    for stage, call in zip(stages, calls, strict=True):
        whole = whole_answer(json.dumps(said[stage]), call.rest, one.text)
        read = form.parse(whole, replace(staged.adapter().request(post_inputs(one))), False)["entities"]
        assert [e.box and e.box.picture for e in read] == {"extract": [None, None], "verify": [None], "ground": [3]}[
            stage
        ]
    assert frame.several
    assert whole_answer('{"box":[1,2,3,4]}', calls[2].rest, one.text) is None


def test_compile_uses_the_first_images_if_the_program_does():
    student = program(replace(PIXELS, max_pictures=1))
    with pytest.raises(InputError, match="3 images, but the model takes at most 1"):
        student.compile(trainset=posts(4), optimizer=gmner.MCR())
    student.limit_pictures = 1
    compiled = student.compile(trainset=posts(4), valset=posts(2), optimizer=gmner.MCR(progress=False))
    for request in student.model.engine.requests:
        assert all(len(pictures_of(SimpleNamespace(messages=[turn]))) <= 1 for turn in request.messages)
    assert compiled is not student
    few = student.compile(trainset=posts(3), optimizer=dspy.LabeledFewShot(k=1))
    (demo,) = few.answer.demos
    assert [e.span for e in demo.entities if e.boxes] == ["Ada"]
    few(text=TEXT)
    assert len(pictures_of(student.model.engine.requests[-1])) == 1


def test_demonstrations_of_dspy_have_all_their_images(tmp_path: Path):
    student = program()
    few = student.compile(trainset=posts(1), optimizer=dspy.LabeledFewShot(k=1))
    few.save(tmp_path / "bundle")
    for each in (few, gmner.load(tmp_path / "bundle", lm=student.model)):
        each(text=TEXT)
        request = student.model.engine.requests[-1]
        assert [picture.size for picture in pictures_of(request)] == list(SIZES)
        assert [e["picture"] for e in json.loads(request.messages[1].parts[0].text)["entities"]] == [1, 3, 2, None]


def test_length_of_a_prompt_is_bounded(tiny_lm: Callable[[str], dspy.LM]):
    lm = tiny_lm("qwen2_5_vl")
    assert within_context(posts(2), GMNER(lm), lm.engine) == posts(2)


@pytest.mark.slow
@pytest.mark.parametrize("family", daily(["idefics3", "qwen2_5_vl", "internvl"], "qwen2_5_vl"))
def test_two_steps_of_each_stage(
    program: Programs, tmp_path: Path, family: str, weights: Callable[[Path], dict[str, torch.Tensor]]
):
    student, trained = GMNER(program(family).model, limits=Limits(reasoning=8, entities=4)), posts(4)
    adapter, by_id = student.adapter(), {p.id: p for p in trained}
    mrsi = MRSI(max_steps=2, batch=2, tuning="lora")
    chains = mrsi.chains(trained, adapter, random.Random(0))
    rows = tuning_rows(chains, by_id, adapter, student.answer.signature, [])
    log = mrsi.inject(rows, student.model.engine, tmp_path / "mrsi", seed=0, progress=False)
    assert log[-1]["step"] == 2
    cvo = CVO(max_steps=2, prompts=2, generations=2, max_completion_length=400, redraws=0, tuning="lora", rate=1e-2)
    calls = answer_calls(trained, student.answer.signature, [])
    log = cvo.optimize(
        cvo.rows(calls, adapter), student.model.engine, adapter, tmp_path / "cvo", seed=0, progress=False
    )
    steps = [entry for entry in log if "reward" in entry]
    assert [entry["step"] for entry in steps] == [1, 2]
    for stage in ("mrsi", "cvo"):
        moved = [value for name, value in weights(tmp_path / stage).items() if "lora_B" in name]
        assert any(value.abs().max() > 0 for value in moved)
