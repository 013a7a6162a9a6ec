"""Thinking models on servers: with vLLM's reasoning parser, without one, and with thinking switched off."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from openai_server import Body, Reply, answered_by, as_token, completion, serving
from thinking_templates import thinking_checkpoint

from gmner.data.post import Post
from gmner.programs.corpus import extract_corpus
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.served import served_lm
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import AnswerError, InputError, TruncatedAnswerError

pytestmark = pytest.mark.usefixtures("socket_enabled")
ANSWER = '{"reasoning":"Ana is a </think> person.","entities":[{"span":"Ana","type":"PER","visible":false,"box":null}]}'
DRAFT = '{"reasoning":"","entities":[]}'
THOUGHTS = f"A draft: {DRAFT}. Ana is named."
HALF = math.log(0.5)


@pytest.fixture(autouse=True)
def no_cost_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """litellm would try to download its list of prices."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


def served(base: str, **options: Any) -> dspy.LM:
    return dspy.LM("openai/qwen3-vl-8b-thinking", api_base=base, api_key="key", cache=False, num_retries=0, **options)


def always(text: str | None, logprobs: list[Body] | None = None, **more: Any) -> Callable[[Body], Reply]:
    return lambda _: (200, {}, completion(text, "m", logprobs, **more))


@pytest.mark.parametrize(
    ("text", "thinking"),
    [
        (ANSWER, THOUGHTS),  # with a reasoning parser
        (f"<think>\n{THOUGHTS}\n</think>\n\n{ANSWER}", None),  # without one
        (f"{THOUGHTS}\n</think>\n\n{ANSWER}", None),  # the prompt opened the block
        (f"◁think▷{THOUGHTS}◁/think▷{ANSWER}", None),
        (f"[THINK]{THOUGHTS}[/THINK]{ANSWER}", None),
    ],
)
def test_thinking_is_kept_and_not_parsed(text: str, thinking: str | None):
    with serving(always(text, thinking=thinking)) as (base, _):
        program = GMNER(served(base))
        answer = program(text="Ana met Ben")
        (prediction,) = program.batch_posts([Post("a", "Ana met Ben")], progress=False)
    assert prediction.thinking == answer.thinking == answer.as_pair()[1].thinking == THOUGHTS
    assert answer.reasoning == "Ana is a </think> person."
    assert [e.span for e in answer.entities] == ["Ana"]


def test_answers_without_thinking_have_none():
    with serving(always(ANSWER)) as (base, _):
        answer = GMNER(served(base))(text="Ana met Ben")
    assert answer.thinking == ""
    assert answer.reasoning == "Ana is a </think> person."


@pytest.mark.parametrize("parser", [True, False])
@pytest.mark.parametrize("end", ["\n</think>\n\n", '\n</think>\n\n{"'])
def test_confidence_is_that_of_the_answer(parser: bool, end: str):
    rest = ANSWER.removeprefix('{"') if end.endswith('"') else ANSWER
    tokens = [as_token(THOUGHTS, -5.0), as_token(end, -5.0 if rest == ANSWER else 0.0), as_token(rest, HALF)]
    text, thinking = (ANSWER, THOUGHTS) if parser else (f"{THOUGHTS}\n</think>\n\n{ANSWER}", None)
    with serving(always(text, tokens, thinking=thinking)) as (base, _):
        answer = GMNER(served(base), confidence=True)(text="Ana met Ben")
    assert [e.confidence for e in answer.entities] == [pytest.approx(0.5)]


@pytest.mark.slow  # imports litellm
def test_a_file_is_not_continued_with_another_switch(tmp_path: Path):
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    with serving(always(ANSWER)) as (base, _):
        extract_corpus(GMNER(served(base, extra_body=off)), [Post("a", "Ana met Ben")], tmp_path / "p.jsonl")
        with pytest.raises(InputError, match="thinking"):
            extract_corpus(GMNER(served(base)), [Post("a", "Ana met Ben")], tmp_path / "p.jsonl")


def cut(text: str | None, thinking: str | None = None) -> Callable[[Body], Reply]:
    body = completion(text, "m", thinking=thinking)
    body["choices"][0]["finish_reason"] = "length"
    body["usage"]["completion_tokens"] = 64
    return lambda _: (200, {}, body)


@pytest.mark.parametrize(("text", "thinking"), [(None, THOUGHTS), ("", THOUGHTS), (f"<think>\n{THOUGHTS}", None)])
def test_thinking_that_was_cut_off_is_named(text: str | None, thinking: str | None):
    with serving(cut(text, thinking)) as (base, _):
        program = GMNER(served(base))
        with pytest.raises(TruncatedAnswerError, match="cut the thinking off after 64 tokens") as caught:
            program(text="Ana met Ben")
        failed = program.batch_posts([Post("a", "Ana")], progress=False)
    assert "enable_thinking" in caught.value.remedy
    assert caught.value.received == THOUGHTS
    assert "cut the thinking off" in failed[0].error["message"]


def test_thinking_without_an_answer_is_not_an_answer():
    with serving(always(None, thinking=THOUGHTS)) as (base, _), pytest.raises(AnswerError, match="returned no text"):
        GMNER(served(base))(text="Ana met Ben")
    with serving(always(f"<think>{DRAFT}</think>")) as (base, _), pytest.raises(AnswerError, match="did not enforce"):
        GMNER(served(base))(text="Ana met Ben")


@pytest.mark.slow  # imports litellm
@pytest.mark.parametrize("on", [True, False])
def test_switch_is_sent(monkeypatch: pytest.MonkeyPatch, on: bool):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    with serving(always(DRAFT), {"m": "Qwen/Qwen3.5-9B"}) as (base, bodies):
        lm, profile = served_lm(base, thinking=on, num_retries=0)
        assert GMNER(lm, profile=profile)(text="Ana").entities == []
        assert bodies[0]["chat_template_kwargs"] == {"enable_thinking": on}
        plain, profile = served_lm(base, num_retries=0)
        GMNER(plain, profile=profile)(text="Ana")
    assert "chat_template_kwargs" not in bodies[1]


def test_key_and_further_variables_are_kept(monkeypatch: pytest.MonkeyPatch):
    keys = []

    def client(*, api_key: str, **_: Any) -> SimpleNamespace:
        keys.append(api_key)
        return SimpleNamespace(models=SimpleNamespace(list=lambda: [SimpleNamespace(id="qwen3.5-9b")]))

    monkeypatch.setattr("openai.OpenAI", client)
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    body = {"top_k": 5, "chat_template_kwargs": {"add_vision_id": True}}
    lm, _ = served_lm("http://localhost/v1", thinking=False, api_key="mine", extra_body=body)
    assert (keys, lm.kwargs["api_key"]) == (["mine"], "mine")
    switched = {"add_vision_id": True, "enable_thinking": False}
    assert lm.kwargs["extra_body"] == {"top_k": 5, "chat_template_kwargs": switched}


@pytest.fixture(scope="module")
def thinking_lm(tiny, tmp_path_factory) -> Iterator[dspy.LM]:
    folder = thinking_checkpoint(tiny("qwen3_vl"), "opens", tmp_path_factory.mktemp("served") / "opens")
    lm = load_vlm(folder, thinking=True, thinking_tokens=12, temperature=1.0, cache=False)
    lm.kwargs["seed"] = 5
    yield lm
    lm.engine.close()


@pytest.mark.parametrize("kind", [GMNER, StagedGMNER])
def test_served_thinking_model_gives_the_same_answers(thinking_lm: dspy.LM, kind: type[GMNER] | type[StagedGMNER]):
    text = "Kevin Durant in Paris"
    with serving(answered_by(thinking_lm.engine)) as (base, _):
        here = kind(thinking_lm, confidence=True)
        there = kind(served(base, temperature=1.0, seed=5), profile=thinking_lm.engine.profile, confidence=True)
        expected, found = here(text=text), there(text=text)
    assert found.entities == expected.entities
    assert found.reasoning == expected.reasoning
    assert found.thinking == expected.thinking
    assert expected.thinking
