"""Which posts fit into the context of the model."""

import logging
import re

import pytest
from PIL import Image

from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.reasoning_origin import Origin
from gmner.optimizers.chains.reasoning_pass import check_given_chains
from gmner.optimizers.chains.reasoning_set import ReasoningSet
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training import lengths
from gmner.optimizers.training.lengths import within_context
from gmner.optimizers.training.program_calls import post_inputs
from gmner.optimizers.training.rows import program_rows
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError
from gmner.signatures.forms import as_data
from gmner.signatures.mentions import GoldEntity, GroundedEntity
from gmner.signatures.schema import Limits


@pytest.fixture
def student(program) -> GMNER:
    return program("idefics3")


def width(student: GMNER, post: Post) -> int:
    chat = student.adapter().dialogue(student.answer.signature, [], post_inputs(post))
    return int(ChatEncoder(student.model.engine.processor)([chat])["attention_mask"].sum())


def test_posts_without_room_for_an_answer_are_reported(student, caplog, monkeypatch):
    engine = student.model.engine
    posts = [
        Post("short", "Ana met Bo"),
        Post("long", "Ana met Bo " * 300),
        Post("shown", "Ana met Bo " * 300, Image.new("RGB", (60, 40))),
        Post("broken", "Ana", "nowhere.png"),
    ]
    room = width(student, posts[1])
    config = engine.model.config.get_text_config()
    monkeypatch.setattr(config, "max_position_embeddings", room + lengths.FREE_TEXT_TOKENS)
    with caplog.at_level(logging.WARNING):
        assert [post.id for post in within_context(posts, student, engine)] == ["short", "long", "broken"]
    assert f"shown ({width(student, posts[2])} tokens)" in caplog.text
    assert f"context of {room + lengths.FREE_TEXT_TOKENS} tokens" in caplog.text


def test_short_posts_are_not_tokenized(student, monkeypatch):
    posts = [Post(str(number), f"Ana met Bo {number}", Image.new("RGB", (60, 40))) for number in range(20)]
    calls, encode = [], ChatEncoder._encode
    monkeypatch.setattr(ChatEncoder, "_encode", lambda *given: calls.append(1) or encode(*given))
    assert within_context(posts, student, student.model.engine) == posts
    assert len(calls) == 1  # for the size of the images


@pytest.mark.parametrize(("answer", "kept"), [(0, 2), (lengths.FREE_TEXT_TOKENS + 1, 1), (10_000, 0)])
def test_room_for_the_longest_answer(student, caplog, monkeypatch, answer, kept):
    engine = student.model.engine
    posts = [Post("short", "Ana met Bo"), Post("long", "Ana met Bo " * 300)]
    room = width(student, posts[1])
    config = engine.model.config.get_text_config()
    monkeypatch.setattr(config, "max_position_embeddings", room + lengths.FREE_TEXT_TOKENS)
    with caplog.at_level(logging.WARNING):
        assert within_context(posts, student, engine, answer=answer) == posts[:kept]
    assert (f"long ({room} tokens)" in caplog.text) == (kept < 2)
    assert (f"{answer} tokens of answer" in caplog.text) == (kept < 2)


def chains() -> tuple[dict[str, Post], list[Chain]]:
    posts = {name: Post(name, "Ana met Bo", None, (GoldEntity("Ana", 0, 3, "PER"),)) for name in ("short", "long")}
    gold = as_data(GroundedEntity("Ana", 0, 3, "PER", None))
    return posts, [Chain("short", "steps", "red", (gold,)), Chain("long", "steps", "red left " * 300, (gold,))]


@pytest.fixture
def narrow(student, monkeypatch) -> int:
    """A context with room for the prompt, but not for the longer chain."""
    posts, _ = chains()
    context = width(student, posts["long"]) + 300
    monkeypatch.setattr(student.model.engine.model.config.get_text_config(), "max_position_embeddings", context)
    return context


def test_too_long_rows_are_skipped_and_reported(student, caplog, narrow):
    posts, written = chains()
    with caplog.at_level(logging.WARNING):
        rows = program_rows(student, written, posts, student.adapter(), [])
    assert len(rows) == 1
    assert f"context of {narrow} tokens" in caplog.text
    assert re.search(r"long \((\d+) tokens\)", caplog.text)
    with pytest.raises(InputError, match="No training row is left"):
        program_rows(student, written[1:], posts, student.adapter(), [])


def test_too_long_given_chains_are_refused_first(student, narrow, tmp_path):
    posts, written = chains()
    profile = student.adapter().profile
    origin = Origin(profile.box_format, student.labels.names, 0, ("steps",), 1, resize=profile.rule)
    made = ReasoningSet.of(written, list(posts.values()), [], origin)
    mrsi, run = MRSI(chains_from=made.save(tmp_path / "set")), tmp_path / "run"
    student.limits = Limits(reasoning=100_000)
    with pytest.raises(InputError, match=rf"1 post .*context of {narrow} tokens: long \(\d+ tokens\)"):
        check_given_chains(mrsi, list(posts.values()), student, run)
    student.limits = Limits(reasoning=100)
    with pytest.raises(InputError, match=r"1 chains are longer.*long \(2700 characters\).*up to 100"):
        check_given_chains(mrsi, list(posts.values()), student, run)
    assert not run.exists()
    (run / "chains").mkdir(parents=True)
    (run / "chains" / "done.json").write_text("{}")
    check_given_chains(mrsi, list(posts.values()), student, run)  # this run has its own copy
    check_given_chains(MRSI(), list(posts.values()), student)
