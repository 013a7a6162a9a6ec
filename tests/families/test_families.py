"""Every family with a tiny checkpoint and its chat template: answers, boxes on the wire, batches and training."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import dspy
import pytest
from engine_requests import checked, request, schema_for, text_of
from family_checkpoints import CHECKPOINTS, build_checkpoint
from filelock import FileLock
from PIL import Image
from several_images import posts
from tiny import FAMILIES as PRESENT

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.engine.generation import Generator, Prompt
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import FAMILIES, ModelProfile, profile_of
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.processors import load_processor
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import Limits
from gmner.signatures.wire import Frame

SAMPLED = ("gemma4", "minicpmv4_6")
"""Their own processors, y before x, and linear attention: tested every day, the others each night."""

FURTHER = [
    pytest.param(name, marks=pytest.mark.slow if name in SAMPLED else pytest.mark.nightly) for name in CHECKPOINTS
]
EVERY = [*PRESENT, *FURTHER]
SIZES = [(60, 60), (90, 60), (33, 200), (640, 480), (1023, 77), (1200, 800), (31, 17)]

FamilyLM = Callable[[str], dspy.LM]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, worker_id: str, tiny) -> Callable[[str], Path]:
    """The folder of a family's tiny checkpoint."""
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "families"
    root.mkdir(exist_ok=True)
    return lambda family: tiny(family) if family in PRESENT else _built(root, family)


@pytest.fixture(scope="module")
def family_lm(checkpoint: Callable[[str], Path]) -> FamilyLM:
    return cache(lambda family: load_vlm(checkpoint(family), cache=False))


@pytest.fixture(scope="module")
def profiled(checkpoint: Callable[[str], Path]) -> Callable[[str], tuple[Any, ModelProfile]]:
    """The processor and the profile of a family, without its weights."""

    def loaded(family: str) -> tuple[Any, ModelProfile]:
        folder = checkpoint(family)
        processor = load_processor(folder, family)
        return processor, profile_of(family, processor, folder)

    return cache(loaded)


def _built(root: Path, family: str) -> Path:
    with FileLock(root / f"{family}.lock"):
        if not (root / family).is_dir():
            build_checkpoint(family, root / f"{family}.unfinished").rename(root / family)
    return root / family


@pytest.mark.parametrize("family", FURTHER)
def test_answers_are_valid(family_lm: FamilyLM, family: str):
    engine = family_lm(family).engine
    posts = ["Kevin Durant in Paris", "日本 東京", "<image> </think> <|im_start|>"]
    requests = [
        request(post, schema_for(post, engine.profile, reasoning=8), temperature=1.0, seed=seed)
        for seed, post in enumerate(posts)
    ]
    for post, response in zip(posts, engine.complete_many(requests), strict=True):
        checked(text_of(response), post, engine.profile)
        assert response.finish_reason == "stop"


@pytest.mark.parametrize("family", EVERY)
def test_gold_boxes_survive_the_wire(profiled, family: str):
    """A box as the adapter writes it comes back within a pixel."""
    profile, draw = profiled(family)[1], random.Random(0)
    for size in SIZES:
        frame = Frame(profile.box_format, size, profile.resized(size))
        for _ in range(20):
            x1, y1 = draw.uniform(0, size[0] - 2), draw.uniform(0, size[1] - 2)
            box = Box(x1, y1, draw.uniform(x1 + 1, size[0]), draw.uniform(y1 + 1, size[1]))
            back = frame.decode(frame.encode(box))
            shrunk = max(1.0, *(s / r for s, r in zip(size, profile.resized(size) or size, strict=True)))
            assert all(abs(a - b) <= shrunk for a, b in zip(box.as_tuple(), back.as_tuple(), strict=True))


@pytest.mark.parametrize("family", EVERY)
def test_resize_rule_is_that_of_the_processor(profiled, family: str):
    processor, profile = profiled(family)
    if profile.rule is None:
        assert profile.box_format.frame != "resized"
        return
    images = processor.image_processor
    for size in SIZES:
        rows, columns = images([Image.new("RGB", size)])["image_grid_thw"][0][1:]
        assert profile.resized(size) == (int(columns) * images.patch_size, int(rows) * images.patch_size)


@pytest.mark.nightly
@pytest.mark.parametrize("family", CHECKPOINTS)
def test_answers_do_not_depend_on_the_batch(family_lm: FamilyLM, family: str, caplog):
    engine = family_lm(family).engine
    posts = ["Paris", "Kevin Durant and London in the left of Paris", "x y z", "red"]
    requests = [
        request(post, schema_for(post, engine.profile, reasoning=30), temperature=1.0, seed=seed)
        for seed, post in enumerate(posts)
    ]
    with caplog.at_level("WARNING"):
        together = [text_of(reply) for reply in engine.complete_many(requests)]
    assert "failed" not in caplog.text  # the scheduler would answer one by one
    assert together == [text_of(engine.complete(one)) for one in requests]


@pytest.mark.nightly
@pytest.mark.parametrize("family", CHECKPOINTS)
def test_answers_are_those_of_plain_generate(family_lm: FamilyLM, family: str):
    engine = family_lm(family).engine
    model, processor = engine.model, engine.processor
    image = {"type": "image", "image": Image.new("RGB", (90, 60), "red")}
    chat = [
        {"role": "system", "content": [{"type": "text", "text": "Find."}]},
        {"role": "user", "content": [image, {"type": "text", "text": "Paris"}]},
    ]
    inputs = processor.apply_chat_template(
        [chat], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    plain = model.generate(**inputs, do_sample=False, max_new_tokens=6)[0, inputs["input_ids"].shape[1] :]
    generator = Generator(engine.weights)
    assert generator.encoder([chat])["input_ids"].tolist() == inputs["input_ids"].tolist()
    (completion,) = generator.generate([Prompt(chat, max_tokens=6)])
    expected = [token for token in plain.tolist() if token not in engine.weights.end_ids]
    assert completion.text == processor.tokenizer.decode(
        expected, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


@pytest.mark.nightly
@pytest.mark.parametrize("family", CHECKPOINTS)
def test_two_steps_of_sft_and_of_grpo(family_lm: FamilyLM, family: str, tmp_path: Path):
    student, posts = GMNER(family_lm(family), limits=Limits(reasoning=12, entities=3)), World().posts("train", 6)
    optimizer = MCR(
        mrsi=MRSI(max_steps=2, per_post=1, tuning="full", batch=2),
        cvo=CVO(max_steps=2, prompts=2, generations=2, tuning="full", max_completion_length=400),
        progress=False,
    )
    if FAMILIES[family].no_training:
        with pytest.raises(InputError, match="MRSI and CVO cannot train"):
            student.compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    if FAMILIES[family].no_grpo:
        with pytest.raises(InputError, match="CVO cannot train"):
            student.compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path / "run")
        assert not (tmp_path / "run").exists()
        optimizer.cvo = None
    better = student.compile(trainset=posts, optimizer=optimizer, run_dir=tmp_path / "run")
    before, after = (program.model.engine.model for program in (student, better))
    assert after.config.to_diff_dict() == before.config.to_diff_dict()
    before, after = before.state_dict(), after.state_dict()
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)
    assert better(text="Kevin Durant in Paris").entities is not None


@pytest.mark.nightly
@pytest.mark.parametrize("family", [name for name in CHECKPOINTS if not FAMILIES[name].no_training])
def test_two_steps_with_three_images_and_without(family_lm: FamilyLM, family: str, tmp_path: Path):
    """Batches of posts with three images of different sizes, with one, and without."""
    student = GMNER(family_lm(family), limits=Limits(reasoning=8, entities=4))
    many = posts(2)
    one = replace(many[0], id="one", text="Ada met nobody", more_images=(), entities=many[0].gold[:1])
    none = Post("none", "Rome is far", None, (GoldEntity("Rome", 0, 4, "LOC"),))
    optimizer = MCR(
        mrsi=MRSI(max_steps=2, per_post=1, tuning="full", batch=2),
        cvo=CVO(max_steps=2, prompts=2, generations=2, tuning="full", max_completion_length=400, redraws=0),
        progress=False,
    )
    if FAMILIES[family].no_grpo:
        optimizer.cvo = None
    better = student.compile(trainset=[*many, one, none], optimizer=optimizer, run_dir=tmp_path / "run")
    for made in (many[0], none):
        assert better(text=made.text, images=list(made.images)).entities is not None


def test_every_checkpoint_is_of_a_built_in_family():
    assert set(CHECKPOINTS) < set(FAMILIES)
