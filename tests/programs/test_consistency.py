"""Several answers to one post: the vote, the requests, and batching."""

import asyncio
from typing import Any

import pytest
from dspy import lm15
from PIL import Image
from scripted import ScriptedEngine, entity, scripted_lm

from gmner.data.world.generate import World
from gmner.programs.consistency import vote
from gmner.programs.engine.generation import Generator
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.staged import StagedGMNER
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GroundedEntity

TEXT = "Ana met Ben"


def predicted_entity(span: str, kind: str = "PER", box: Box | None = None) -> GroundedEntity:
    start = TEXT.index(span)
    return GroundedEntity(span, start, start + len(span), kind, box)


LEFT, NEAR, FAR = Box(0, 0, 10, 10), Box(0, 0, 10, 9), Box(50, 50, 60, 60)


def test_vote_on_each_part_of_an_entity():
    answers = [
        ("one", [predicted_entity("Ana", box=FAR), predicted_entity("Ben")]),
        ("two", [predicted_entity("Ben", "LOC"), predicted_entity("Ana", box=LEFT)]),
        ("three", [predicted_entity("Ana", box=NEAR), predicted_entity("Ana", "ORG"), predicted_entity("met")]),
        ("four", [predicted_entity("Ana"), predicted_entity("Ben")]),
        ("five", [predicted_entity("Ben"), predicted_entity("Ana", "ORG", LEFT)]),
    ]
    reasoning, entities = vote(answers)
    assert [(e.span, e.type, e.box) for e in entities] == [("Ana", "PER", LEFT), ("Ben", "PER", None)]
    assert [e.confidence for e in entities] == [pytest.approx(3 / 5), pytest.approx(3 / 5)]
    assert reasoning == "one"  # the first answer with both


def test_vote_needs_a_majority():
    assert vote([("a", [predicted_entity("Ana")]), ("b", [])]) == ("b", [])
    assert vote([("a", [])]) == ("a", [])
    _, entities = vote([("", [predicted_entity("Ana", box=LEFT)]), ("", [predicted_entity("Ana")])])
    assert [e.box for e in entities] == [None]


def sampled_answer(request: lm15.Request) -> dict[str, Any]:
    """Ana in every sample, Ben in two of three."""
    names = ["Ana"] if request.config.seed == 1 else ["Ana", "Ben"]
    return {"reasoning": f"draw {request.config.seed}", "entities": [entity(name, None) for name in names]}


@pytest.mark.parametrize("together", [False, True])
def test_sampled_answers_have_different_seeds(together: bool):
    lm = scripted_lm(sampled_answer)
    program = GMNER(lm, answers=3, temperature=0.5)
    picture = Image.new("RGB", (20, 20))
    call = asyncio.run(program.acall(text=TEXT, image=picture)) if together else program(text=TEXT, image=picture)
    assert [(e.span, e.confidence) for e in call.entities] == [("Ana", 1.0), ("Ben", pytest.approx(2 / 3))]
    assert call.reasoning == "draw 0"
    assert isinstance(lm.engine, ScriptedEngine)
    assert sorted((r.config.seed, r.config.temperature) for r in lm.engine.requests) == [(0, 0.5), (1, 0.5), (2, 0.5)]


def test_single_answer_uses_the_settings_of_the_lm():
    lm = scripted_lm(sampled_answer)
    assert GMNER(lm)(text=TEXT).entities[0].confidence is None
    assert [(r.config.seed, r.config.temperature) for r in lm.engine.requests] == [(None, 0.0)]


@pytest.mark.parametrize(("answers", "temperature"), [(0, 0.7), (3, 0.0), ("3", 0.7), (None, 0.7)])
def test_invalid_numbers_of_answers_are_refused(answers: int, temperature: float):
    with pytest.raises(InputError, match="answers must be at least 1, and sampling several needs temperature > 0"):
        GMNER(scripted_lm(sampled_answer), answers=answers, temperature=temperature)(text=TEXT)


def test_sampled_answers_share_a_batch_and_are_reproducible(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    add = Generator.add
    monkeypatch.setattr(
        Generator, "add", lambda self, stream, prompts: sizes.append(len(prompts)) or add(self, stream, prompts)
    )
    program, post = GMNER(load_vlm(cache=False), answers=6, temperature=1.0), World().posts("dev", 1)[0]
    answer = program(text=post.text, image=post.image)
    assert sum(sizes) == 6
    assert len(sizes) < 6  # the first may start alone, and the others join it
    assert program(text=post.text, image=post.image).toDict() == answer.toDict()
    staged = StagedGMNER(program.model, answers=3)
    assert all(0 < e.confidence <= 1 for e in staged(text=post.text, image=post.image).entities)
