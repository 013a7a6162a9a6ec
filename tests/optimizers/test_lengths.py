"""Which posts fit the context of the model that is trained."""

import logging

import pytest
from PIL import Image

from gmner.data.post import Post
from gmner.optimizers import lengths
from gmner.optimizers.calls import post_inputs
from gmner.optimizers.lengths import within_context
from gmner.programs.encoding import ChatEncoder
from gmner.programs.gmner import GMNER


@pytest.fixture
def student(program) -> GMNER:
    return program("idefics3")


def width(student: GMNER, post: Post) -> int:
    chat = student.adapter().dialogue(student.answer.signature, [], post_inputs(post))
    return int(ChatEncoder(student.model.engine.processor)([chat])["attention_mask"].sum())


def test_posts_that_leave_no_room_are_named(student, caplog, monkeypatch):
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


def test_short_posts_are_not_encoded(student, monkeypatch):
    posts = [Post(str(number), f"Ana met Bo {number}", Image.new("RGB", (60, 40))) for number in range(20)]
    calls, encode = [], ChatEncoder._encode
    monkeypatch.setattr(ChatEncoder, "_encode", lambda *given: calls.append(1) or encode(*given))
    assert within_context(posts, student, student.model.engine) == posts
    assert len(calls) == 1  # for the size of the pictures
