"""Confidences: which tokens count, their probabilities, and where the figure is stored."""

import json
import math
from dataclasses import replace

import dspy
import pytest
import torch
from engine_requests import request
from PIL import Image
from scripted import entity, scripted_lm

from gmner.data.pages.answers_page import render_html
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.world.generate import World
from gmner.programs.engine.confidence import confidences
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import picture_ids
from gmner.programs.models.loading import load_vlm
from gmner.programs.staged import StagedGMNER, judged
from gmner.signatures.boxes import Box
from gmner.signatures.errors import AnswerError, DataError
from gmner.signatures.mentions import GroundedEntity

TEXT = "Ana met Ben"
ANSWER = (
    '{"reasoning":"a, {b}","entities":[{"span":"Ana","type":"PER","visible":true,"box":[1,2,3,4]},'
    '{"span":"Ben","type":"PER","visible":false,"box":null}]}'
)


def tokens_of(answer: str, parts: dict[str, float]) -> list[tuple[str, float]]:
    """One token per character with probability 1, except for these parts of the answer, which are one token each."""
    found: list[tuple[str, float]] = []
    at = 0
    while at < len(answer):
        part = next((part for part in parts if answer.startswith(part, at)), answer[at])
        found.append((part, math.log(parts.get(part, 1.0))))
        at += len(part)
    return found


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, [1, 1]),
        ({"Ana": 0.5}, [0.5, 1]),
        ({"Ana": 0.5, "true": 0.5}, [0.25, 1]),
        ({"true,": 0.5}, [0.5, 1]),
        ({"[1,2,3,4]": 0.1, "a, {b}": 0.1, "null": 0.1}, [1, 1]),  # boxes and reasoning are ignored
        ({'},{"': 0.5}, [1, 0.5]),  # the decision to continue the list
        ({'e,"box': 0.5}, [0.5, 0.5]),  # a token that contains the end of the verdict counts
        ({"PER": 0.9}, [0.9, 0.9]),
    ],
)
def test_confidence_of_span_type_and_verdict(parts: dict[str, float], expected: list[float]):
    assert confidences(ANSWER, tokens_of(ANSWER, parts)) == pytest.approx(expected)


def test_confidence_of_other_answers_and_whitespace():
    spaced = json.dumps(json.loads(ANSWER), indent=1)
    assert confidences(spaced, tokens_of(spaced, {"Ben": 0.25})) == pytest.approx([1, 0.25])
    mentions = '{"mentions":[{"span":"Ana","type":"PER"},{"span":"Ben","type":"LOC"}]}'
    assert confidences(mentions, tokens_of(mentions, {"LOC": 0.3})) == pytest.approx([1, 0.3])
    assert confidences('{"mentions":[]}', tokens_of('{"mentions":[]}', {})) == []
    verdict = '{"evidence":"visible","visible":false}'
    assert confidences(verdict, [*((c, 0.0) for c in verdict[:-6]), ("false", math.log(0.7)), ("}", 0.0)]) == [
        pytest.approx(0.7)
    ]
    assert confidences('{"box":null}', tokens_of('{"box":null}', {"null": 0.4})) == pytest.approx([0.4])
    assert confidences('{"box":[1,2,3,4]}', tokens_of('{"box":[1,2,3,4]}', {})) == []


@pytest.mark.parametrize(
    ("verdict", "grounded", "expected"),
    [
        ({"visible": True, "confidences": [0.8]}, {"box": Box(1, 2, 3, 4), "confidences": []}, 0.9 * 0.8),
        ({"visible": False, "confidences": [0.8]}, None, 0.9 * 0.8),
        ({"visible": True, "confidences": [0.8]}, {"box": None, "confidences": [0.5]}, 0.9 * (0.2 + 0.8 * 0.5)),
    ],
)
def test_confidence_of_a_staged_answer(verdict: dict, grounded: dict | None, expected: float):
    given = None if grounded is None else dspy.Prediction(**grounded)
    mention = GroundedEntity("Ana", 0, 3, "PER", confidence=0.9)
    found = judged(mention, dspy.Prediction(**verdict), given)
    assert found.confidence == pytest.approx(expected)
    assert found.box == (grounded or {}).get("box")
    unasked = judged(replace(mention, confidence=None), dspy.Prediction(visible=verdict["visible"]), given)
    assert (unasked.confidence, unasked.box) == (None, found.box)


def test_tokens_must_match_the_answer():
    with pytest.raises(AnswerError, match="do not match the answer"):
        confidences(ANSWER, tokens_of(ANSWER.replace("Ana", "Amy"), {}))
    with pytest.raises(AnswerError, match="do not match the answer"):
        confidences(ANSWER, tokens_of(ANSWER, {})[1:])
    with pytest.raises(AnswerError, match="not JSON"):
        confidences(ANSWER, tokens_of(ANSWER, {})[:-1])
    ended = [*tokens_of(ANSWER, {"Ana": 0.5}), ("<|im_end|>", -1.0)]
    assert confidences(ANSWER, ended) == pytest.approx([0.5, 1])
    again = json.dumps(json.loads(ANSWER))  # as a client may write it
    assert confidences(again, tokens_of(ANSWER, {"Ana": 0.5})) == pytest.approx([0.5, 1])
    with pytest.raises(AnswerError, match="not JSON"):
        confidences("no", [("no", 0.0)])


def test_probabilities_are_those_of_the_model(tiny_lm, monkeypatch: pytest.MonkeyPatch):
    engine, read, rows = tiny_lm("qwen2_5_vl").engine, [], []
    generate, completion = engine.model.generate, engine._generator.completion
    monkeypatch.setattr(engine.model, "generate", lambda **kwargs: read.append(kwargs) or generate(**kwargs))
    monkeypatch.setattr(engine._generator, "completion", lambda row: rows.append(row) or completion(row))
    asked = request("Paris", None, (60, 40), temperature=0.7, seed=1, max_tokens=6, logprobs=0)
    response = engine.complete(asked)
    assert response.logprobs is not None
    assert "".join(token.token for token in response.logprobs) == response.message.parts[0].text
    written = torch.tensor([rows[0].written])
    inputs = {name: value for name, value in read[0].items() if isinstance(value, torch.Tensor | dict)}
    length = inputs["input_ids"].shape[1]
    ids = torch.cat([inputs["input_ids"], written], 1)
    inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "mm_token_type_ids" in inputs:
        kinds = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.nn.functional.pad(kinds, (0, written.shape[1]))
    with torch.no_grad():
        logits = engine.model(**inputs).logits[0, length - 1 : -1]
    logits[:, picture_ids(engine.model.config)] = float("-inf")
    wanted = logits.log_softmax(-1).gather(1, written[0, :, None])[:, 0].tolist()
    found = [token.logprob for token in response.logprobs]
    assert found == pytest.approx(wanted, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [GMNER, StagedGMNER])
def test_programs_return_confidences(kind: type[GMNER] | type[StagedGMNER]):
    lm, posts = load_vlm(cache=False), World().posts("dev", 3)
    program, plain, confidences = kind(lm, confidence=True), kind(lm), set[float | None]()
    for post in posts:
        answer = program(text=post.text, image=post.image)
        assert all(e.confidence is not None and 0 < e.confidence <= 1 for e in answer.entities)
        confidences |= {e.confidence for e in answer.entities}
        silent = plain(text=post.text, image=post.image)
        assert [(e.span, e.box, e.confidence) for e in silent.entities] == [
            (e.span, e.box, None) for e in answer.entities
        ]
    assert len(confidences) > 2


def test_server_without_log_probabilities_is_reported():
    program = GMNER(scripted_lm({"reasoning": "", "entities": [entity("Ana", None)]}), confidence=True)
    with pytest.raises(AnswerError, match="has no log probabilities"):
        program(text=TEXT, image=Image.new("RGB", (20, 20)))


def test_records_and_pages_contain_confidences():
    record = {"span": "Ana", "start": 0, "end": 3, "type": "PER", "visible": False, "box": None, "confidence": 0.97}
    data = {"id": "a", "text": TEXT, "reasoning": "", "entities": [record], "error": None}
    read = Prediction.from_record(data)
    assert read.entities[0].confidence == 0.97
    assert read.to_record() == data
    assert "not shown · 97%" in render_html([(Post("a", TEXT), {"answers": read})], title="t")
    for bad in (1.2, "high", True, -0.1):
        with pytest.raises(DataError, match=r"must be from 0 to 1"):
            Prediction.from_record({**data, "entities": [{**record, "confidence": bad}]})
