"""Models on an OpenAI-compatible server: a local HTTP server that checks the requests."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import LMAuthError, LMServerError, LMTransportError
from openai_server import Body, Reply, answered_by, as_token, completion, serving

from gmner.data.jsonl import read_predictions
from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.programs import server_lm
from gmner.programs.corpus import extract_corpus
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import ModelProfile
from gmner.programs.models.loading import load_vlm
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import AnswerError, TruncatedAnswerError

pytestmark = pytest.mark.usefixtures("socket_enabled")
EMPTY = '{"reasoning":"","entities":[]}'


def served(base: str, **options: Any) -> dspy.LM:
    settings: dict[str, Any] = {"temperature": 0.0, "max_tokens": None, "cache": False, "num_retries": 0}
    return dspy.LM("openai/Qwen3-VL-tiny", api_base=base, api_key="key", **{**settings, **options})


@pytest.fixture(scope="module")
def local() -> dspy.LM:
    return load_vlm(cache=False)


@pytest.fixture(scope="module")
def posts() -> list[Post]:
    return World().posts("dev", 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [GMNER, StagedGMNER])
def test_served_model_gives_the_same_answers(local: dspy.LM, posts: list[Post], kind: type[GMNER] | type[StagedGMNER]):
    with serving(answered_by(local.engine)) as (base, bodies):
        here = kind(local, confidence=True)
        there = kind(served(base), profile=local.engine.profile, confidence=True)
        for post in posts:
            expected, found = (program(text=post.text, image=post.image) for program in (here, there))
            assert [(e.span, e.type, e.box) for e in found.entities] == [
                (e.span, e.type, e.box) for e in expected.entities
            ]
            assert [e.confidence for e in found.entities] == pytest.approx([e.confidence for e in expected.entities])
            assert found.reasoning == expected.reasoning
        first = bodies[0]["response_format"]["json_schema"]
        assert first["strict"] is True
        assert "enum" in str(first["schema"])
        assert "pattern" not in str(first["schema"])  # xgrammar cannot count these
        assert all(body["logprobs"] is True for body in bodies)


def test_sampled_answers_have_their_own_rollout_ids(local: dspy.LM, posts: list[Post]):
    with serving(answered_by(local.engine)) as (base, bodies):
        program = GMNER(served(base), profile=local.engine.profile, answers=3)
        answer = program(text=posts[0].text, image=posts[0].image)
    assert len(bodies) == 3
    assert {body["temperature"] for body in bodies} == {0.7}
    assert all("rollout_id" not in body for body in bodies)
    assert all(e.confidence is not None for e in answer.entities)


@pytest.mark.parametrize(
    ("model", "options", "sent"),
    [
        ("openai/Qwen3-VL-tiny", {}, 0.0),  # servers sample by default, local models do not
        ("openai/Qwen3-VL-tiny", {"temperature": 0.4}, 0.4),
        ("openai/gpt-5", {}, None),  # accepts no temperature
    ],
)
def test_served_model_decodes_greedily_by_default(model: str, options: Any, sent: float | None):
    with serving(lambda _: (200, {}, completion(EMPTY, "m"))) as (base, bodies):
        lm = dspy.LM(model, api_base=base, api_key="key", cache=False, num_retries=0, **options)
        GMNER(lm, profile=ModelProfile())(text="Ana met Ben")
    assert [body.get("temperature") for body in bodies] == [sent]


def test_escaped_text_of_a_server():
    said = {"reasoning": 'He said "no".\nNot shown: \\o/ é', "entities": []}
    with serving(lambda _: (200, {}, completion(json.dumps(said), "m"))) as (base, _):
        assert GMNER(served(base))(text="Ana met Ben").reasoning == said["reasoning"]


def test_character_of_several_tokens():
    answer = '{"reasoning":"","entities":[{"span":"Žižek","type":"PER","visible":false,"box":null}]}'
    before, after = (part.encode() for part in answer.split("Ž"))
    parts = [before, b"\xc5", b"\xbd", after]  # OpenAI returns partial characters as escapes, with their bytes
    tokens = [{**as_token(repr(part), math.log(0.9)), "bytes": list(part)} for part in parts]
    with serving(lambda _: (200, {}, completion(answer, "m", tokens))) as (base, _):
        found = GMNER(served(base), confidence=True)(text="Žižek spoke")
    assert [e.confidence for e in found.entities] == [pytest.approx(0.9**4)]


@pytest.mark.parametrize(
    "text",
    [
        "Sure! Here is a poem.",
        '{"reasoning":"","entities":[{"span":"nobody","type":"PER","visible":false,"box":null}]}',
        '{"reasoning":"","entities":[{"span":"Ana","type":"HERO","visible":false,"box":null}]}',
        '{"reasoning":"cut',
    ],
)
def test_server_that_ignores_the_schema_is_reported(text: str):
    with serving(lambda _: (200, {}, completion(text, "m"))) as (base, bodies):
        program = GMNER(served(base))
        with pytest.raises(AnswerError, match="The server did not enforce the schema") as caught:
            program(text="Ana met Ben")
        assert "response_format" in caught.value.remedy
        answers = program.batch_posts([Post("a", "Ana met Ben")], progress=False)
    assert answers[0].error is not None
    assert "did not enforce the schema" in answers[0].error["message"]
    assert len(bodies) == 2


def replied(message: dict[str, Any], **choice: Any) -> Body:
    body = completion(EMPTY, "m")
    body["choices"][0] = {**body["choices"][0], "message": {"role": "assistant", **message}, **choice}
    return body


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{no"}}


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (200, replied({"content": None, "refusal": "I cannot"})),
        (200, replied({"content": ""})),
        (200, replied({"content": None}, finish_reason="content_filter")),
        (200, replied({"content": None, "tool_calls": [CALL]}, finish_reason="tool_calls")),
        (200, replied({}, finish_reason="stop")),
        (200, {**completion(EMPTY, "m"), "choices": []}),
        (200, {**completion(EMPTY, "m"), "choices": None}),
        (200, {"id": "c"}),
        (200, "<html>busy</html>"),
        (200, ""),
        (200, "[]"),
        (200, "null"),
        (200, '{"error": {"message": "for this post"}}'),
        (400, {"error": {"message": "content policy"}}),
        (413, {"error": {"message": "too long", "code": "context_length_exceeded"}}),
        (429, {"error": {"message": "slow down"}}),
        (500, {"error": {"message": "boom"}}),
    ],
)
def test_server_error_for_one_post_is_recorded(status: int, reply: Body | str):
    def answer(body: Body) -> Reply:
        return (status, {}, reply) if "odd" in str(body["messages"]) else (200, {}, completion(EMPTY, "m"))

    with serving(answer) as (base, _):
        found = GMNER(served(base)).batch_posts([Post(t, f"Ana {t}") for t in ("odd", "b", "c")], progress=False)
    assert [answer.error is None for answer in found] == [False, True, True]
    assert found[0].error["kind"] in ("bad_answer", "server_error")


@pytest.mark.parametrize("logprob", [0.005, 1e308, math.nan, math.inf, -9999.0, "x", None])
def test_unusual_log_probabilities_leave_a_readable_record(logprob: Any, tmp_path: Path):
    said = '{"reasoning":"","entities":[{"span":"Ana","type":"PER","visible":false,"box":null}]}'
    reply = completion(said, "m", [as_token(said, logprob)])
    with serving(lambda _: (200, {}, reply)) as (base, _):
        found = extract_corpus(
            GMNER(served(base), confidence=True), [Post("a", "Ana")], tmp_path / "out.jsonl", progress=False
        )
    assert read_predictions(tmp_path / "out.jsonl") == found
    confidence = {0.005: 1.0, 1e308: None, -9999.0: 0.0}
    assert [e.confidence for e in found[0].entities] == ([confidence[logprob]] if logprob in confidence else [])


def test_lone_surrogate_in_an_answer_round_trip(tmp_path: Path):
    said = '{"reasoning":"\\ud83d","entities":[]}'
    with serving(lambda _: (200, {}, completion(said, "m"))) as (base, _):
        found = extract_corpus(GMNER(served(base)), [Post("\ud83d", "Ana")], tmp_path / "out.jsonl", progress=False)
    assert read_predictions(tmp_path / "out.jsonl") == found
    assert (found[0].id, found[0].reasoning) == ("\ud83d", "\ud83d")


def test_invalid_key_ends_a_run():
    with serving(lambda _: (401, {}, {"error": {"message": "no"}})) as (base, bodies), pytest.raises(LMAuthError):
        GMNER(served(base)).batch_posts([Post("a", "Ana")], progress=False)
    assert len(bodies) == 1


@pytest.mark.slow
def test_rate_limit_is_retried():
    replies: Iterator[Reply] = iter(
        [(429, {"Retry-After": "1"}, {"error": {"message": "slow down"}}), (200, {}, completion(EMPTY, "m"))]
    )
    with serving(lambda _: next(replies)) as (base, bodies):
        assert GMNER(served(base, num_retries=2))(text="Ana met Ben").entities == []
    assert len(bodies) == 2


@pytest.mark.slow
def test_server_failures_stop_a_run():
    with serving(lambda _: (500, {}, {"error": {"message": "boom"}})) as (base, bodies):
        program = GMNER(served(base, num_retries=1))
        with pytest.raises(LMServerError, match="boom"):
            program.batch_posts([Post("a", "Ana met Ben")], progress=False)
    assert len(bodies) == 4  # the post and then the short test text, each twice

    def slow(_: Body) -> Reply:
        time.sleep(2)
        return 200, {}, completion(EMPTY, "m")

    with serving(slow) as (base, _), pytest.raises(LMTransportError, match="timed out"):
        GMNER(served(base, timeout=0.5))(text="Ana met Ben")
    with pytest.raises(LMTransportError, match="failed to connect"):
        GMNER(served(base))(text="Ana met Ben")


def _cut(text: str) -> Body:
    body = completion(text, "m")
    body["choices"][0]["finish_reason"] = "length"
    body["usage"]["completion_tokens"] = 64
    return body


@pytest.mark.slow
@pytest.mark.parametrize("history", [True, False])
def test_truncated_answer_of_a_server_names_the_limit(history: bool):
    text = '{"reasoning":"","entities":[{"span":"An'
    with serving(lambda _: (200, {}, _cut(text))) as (base, bodies), dspy.context(disable_history=not history):
        lm = served(base, max_tokens=64)
        with pytest.raises(TruncatedAnswerError, match=r"cut the answer off after 64 tokens.*max_tokens") as caught:
            GMNER(lm)(text="Ana met Ben")
        assert caught.value.received == text
        assert len(lm.history) == history
        answers = GMNER(lm).batch_posts([Post("a", "Ana")], progress=False)
    assert "cut the answer off after 64 tokens" in answers[0].error["message"]
    assert len(bodies) == 2
    with serving(lambda _: (200, {}, _cut(EMPTY))) as (base, _):  # nothing is missing
        assert GMNER(served(base))(text="Ana").entities == []


@pytest.mark.slow
def test_incomplete_reply_is_retried(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(server_lm, "ended_within", lambda wait: False)
    whole = json.dumps(completion(EMPTY, "m"))
    replies = iter([whole[:60], "", whole])
    with serving(lambda _: (200, {}, next(replies))) as (base, bodies), caplog.at_level("WARNING"):
        assert GMNER(served(base, num_retries=2))(text="Ana").entities == []
    assert len(bodies) == 3
    assert "closed the connection after 60 characters of its reply (attempt 1 of 3)" in caplog.text
    with serving(lambda _: (200, {}, whole[:60])) as (base, bodies):
        answers = GMNER(served(base, num_retries=1)).batch_posts([Post("a", "Ana")], progress=False)
    assert answers[0].error["kind"] == "bad_answer"
    assert "breaks off after 60 characters" in answers[0].error["message"]
    assert len(bodies) == 2
    with serving(lambda _: (200, {}, "<html>a gateway")) as (base, bodies):
        answers = GMNER(served(base, num_retries=1)).batch_posts([Post("a", "Ana")], progress=False)
    assert (answers[0].error["kind"], len(bodies)) == ("bad_answer", 1)


def test_every_retry_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(server_lm, "ended_within", lambda wait: False)
    replies: Iterator[Reply] = iter([(500, {}, {"error": {"message": "boom"}}), (200, {}, completion(EMPTY, "m"))])
    with serving(lambda _: next(replies)) as (base, _), caplog.at_level("WARNING"):
        lm = served(base, num_retries=3)
        assert GMNER(lm)(text="Ana").entities == []
    assert "returned status 500 (attempt 1 of 4); retrying in 1 s" in caplog.text
    assert (lm.num_retries, len(lm.history)) == (3, 1)
