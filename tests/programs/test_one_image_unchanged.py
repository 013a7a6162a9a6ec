"""Posts with one image or none: prompts, answers, schemas and training rows are byte for byte those of version 0.2.

The digests were computed with the last version that gave models one image of a post. Since then, reasoning may contain
quotation marks, which the digests leave out.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from gmner.data.post import Post
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training.program_calls import answer_calls, post_inputs
from gmner.optimizers.training.rows import tuning_rows
from gmner.programs.adapter import PromptAdapter
from gmner.programs.models.families import ModelProfile, ResizeRule
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.forms import as_entity, form_of
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.tasks import TASKS, GroundEntities

POSTS = [
    Post(
        "both",
        "Ada met Bo in Rome",
        Image.new("RGB", (300, 200), "teal"),
        (GoldEntity("Ada", 0, 3, "PER", (Box(30, 20, 120.5, 180),)), GoldEntity("Rome", 14, 18, "LOC")),
    ),
    Post("none", "RT @x: Bo at #TeamBo", None, (GoldEntity("Bo", 7, 9, "PER"),)),
    Post(
        "two",
        "Ada and Ada",
        Image.new("RGB", (90, 160)),
        (GoldEntity("Ada", 0, 3, "PER", (Box(1, 2, 40, 80), Box(50, 2, 89, 80))), GoldEntity("Ada", 8, 11, "ORG")),
    ),
]


FREE_TEXT, FORMER_FREE_TEXT = r"[^\\\x00-\x1f\x7f]", r'[^"\\\x00-\x1f\x7f]'


def digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=lambda image: list(image.size))
    now, former = FREE_TEXT, FORMER_FREE_TEXT
    for _ in range(2):  # schemas, and schemas as text in training rows
        now, former = (json.dumps(part)[1:-1] for part in (now, former))
        text = text.replace(now, former)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def written(profile: ModelProfile) -> Iterator[Any]:
    """Everything that a model with this profile reads and writes about the posts, in inference and in training."""
    adapter = PromptAdapter(COARSE, profile)
    demo = {"reasoning": "so", "entities": list(POSTS[0].gold), "mentions": list(POSTS[0].gold)}
    for task in TASKS[:4]:  # those of GMNER
        for post in POSTS:
            first, *_ = gold = [as_entity(entity) for entity in post.gold]
            inputs = {**post_inputs(post), **({"mention": first} if "mention" in task.input_fields else {})}
            outputs = {"reasoning": "why", "entities": gold, "mentions": gold, "evidence": "seen", "box": first.box}
            yield adapter.dialogue(task, [{**post_inputs(POSTS[0]), **demo}], inputs)
            yield adapter.answer(task, {**inputs, **outputs, "visible": first.visible})
            yield form_of(list(task.output_fields)).schema(adapter.request(inputs))
    chains = MRSI(per_post=1).chains(POSTS, adapter, random.Random(0))
    yield list(tuning_rows(chains, {post.id: post for post in POSTS}, adapter, GroundEntities, []))
    yield list(CVO().rows(answer_calls(POSTS, GroundEntities, []), adapter))


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (ModelProfile(BoxFormat("normalized", 100), terse=True), "f447afa49e2b1892"),  # the embedded model
        (ModelProfile(), "5a34ff082cd3960e"),
        (ModelProfile(BoxFormat("resized"), rule=ResizeRule(28, 56 * 56, 10**6)), "b39140f2d39dbf25"),
    ],
    ids=["embedded", "normalized", "resized"],
)
def test_bytes_are_unchanged(profile: ModelProfile, expected: str):
    assert digest(list(written(profile))) == expected
