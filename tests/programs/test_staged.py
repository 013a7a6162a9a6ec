"""`StagedGMNER`: the calls of each stage, and the answer that results from them."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from dspy import lm15
from PIL import Image
from scripted import pictures_of, schema_of, scripted_lm, words_of

from gmner.programs.staged import StagedGMNER
from gmner.signatures.boxes import Box
from gmner.signatures.errors import AnswerError
from gmner.signatures.mentions import GroundedEntity

TEXT = "Ana met Ben and Cy in Rome"
NAMES = ("Ana", "Ben", "Cy")
PICTURE = Image.new("RGB", (200, 100), "red")


class Script:
    """Ana is shown, Ben is not, and Cy is verified but gets no box."""

    def __init__(self) -> None:
        self.together = threading.Barrier(len(NAMES), timeout=20)

    def __call__(self, request: lm15.Request) -> Mapping[str, Any]:
        asked = next((name for name in NAMES if f"Entity: {name}" in words_of(request)), None)
        if asked is None:
            return {"mentions": [{"span": name, "type": "PER"} for name in NAMES]}
        if "visible" in schema_of(request)["properties"]:
            self.together.wait()
            return {"evidence": f"about {asked}", "visible": asked != "Ben"}
        return {"box": [100, 300, 500, 600] if asked == "Ana" else None}


def asked_of(requests: list[lm15.Request]) -> list[tuple[str, ...]]:
    return [tuple(schema_of(request)["properties"]) for request in requests]


def test_mentions_are_verified_and_shown_ones_grounded():
    lm = scripted_lm(Script())
    answer = StagedGMNER(lm)(text=TEXT, image=PICTURE)

    assert answer.entities == [
        GroundedEntity("Ana", 0, 3, "PER", Box(20, 30, 100, 60)),
        GroundedEntity("Ben", 8, 11, "PER"),
        GroundedEntity("Cy", 16, 18, "PER"),
    ]
    assert answer.reasoning == "Ana: about Ana\nBen: about Ben\nCy: about Cy"
    assert asked_of(lm.engine.requests) == [("mentions",), *3 * [("evidence", "visible")], *2 * [("box",)]]
    assert all([picture.size for picture in pictures_of(request)] == [(200, 100)] for request in lm.engine.requests)


def test_asyncio_makes_the_same_calls():
    plain, other = scripted_lm(Script()), scripted_lm(Script())
    answer, again = StagedGMNER(plain)(text=TEXT, image=PICTURE), StagedGMNER(other).acall(text=TEXT, image=PICTURE)
    assert asyncio.run(again).toDict() == answer.toDict()
    assert asked_of(other.engine.requests) == asked_of(plain.engine.requests)
    for text, image in ((TEXT, None), ("nothing here", PICTURE)):
        lm = scripted_lm({"mentions": []} if image else Script())
        program = StagedGMNER(lm)
        assert asyncio.run(program.acall(text=text, image=image)).toDict() == program(text=text, image=image).toDict()


def test_without_an_image_only_mentions_are_extracted():
    lm = scripted_lm(Script())
    answer = StagedGMNER(lm)(text=TEXT)
    assert [(entity.span, entity.box) for entity in answer.entities] == [(name, None) for name in NAMES]
    assert asked_of(lm.engine.requests) == [("mentions",)]


def test_post_without_mentions_needs_one_call():
    lm = scripted_lm({"mentions": []})
    assert StagedGMNER(lm)(text=TEXT, image=PICTURE).entities == []
    assert len(lm.engine.requests) == 1


def test_repeated_name_has_two_occurrences():
    def script(request: lm15.Request) -> Mapping[str, Any]:
        if "mentions" in schema_of(request)["properties"]:
            return {"mentions": 2 * [{"span": "Ana", "type": "PER"}]}
        return {"evidence": "", "visible": False}

    answer = StagedGMNER(scripted_lm(script))(text="Ana and Ana", image=PICTURE)
    assert [entity.key for entity in answer.entities] == [(0, 3), (8, 11)]


def test_error_in_a_stage_is_raised():
    def script(request: lm15.Request) -> Mapping[str, Any]:
        if "Entity: Ben" in words_of(request):
            raise AnswerError("Ben is unspeakable")
        return Script.__call__(script_of, request)

    script_of = Script()
    script_of.together = threading.Barrier(len(NAMES) - 1, timeout=20)
    with pytest.raises(AnswerError, match="unspeakable"):
        StagedGMNER(scripted_lm(script))(text=TEXT, image=PICTURE)


def test_repeated_span_is_verified_once():
    class Again(Script):
        def __call__(self, request: lm15.Request) -> Mapping[str, Any]:
            found = super().__call__(request)
            return {"mentions": found["mentions"] * 2} if "mentions" in found else found

    lm = scripted_lm(Again())
    program = StagedGMNER(lm)
    assert [e.span for e in program(text=TEXT, image=PICTURE).entities] == ["Ana", "Ben", "Cy"]
    assert asked_of(lm.engine.requests).count(("evidence", "visible")) == 3
