"""The wire format of answers: round trips and errors."""

import json

import pytest
from hypothesis import given
from strategies import SIZE, posts

from gmner.signatures.alignment import align
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import AnswerError, InputError
from gmner.signatures.labels import COARSE
from gmner.signatures.wire import Frame, load_object, parse_answer, render_answer

FRAME = Frame(BoxFormat("original"), SIZE)
TEXT = "Ada met Al in Oslo"


@given(posts())
def test_wire_round_trip(post):
    pairs = [(entity, entity.boxes[0] if entity.boxes else None) for entity in post.gold]
    answer = parse_answer(render_answer("why ✓", pairs, FRAME), post.text, COARSE, FRAME)
    assert answer.reasoning == "why ✓"
    assert [(e.span, e.type, e.box) for e in answer.entities] == [(m.span, m.type, box) for m, box in pairs]
    placed = align([m.span for m, _ in pairs], post.text)
    assert [(e.start, e.end, e.alignment) for e in answer.entities] == placed


def test_wire_format_is_compact_and_keeps_unicode():
    text = render_answer("é", [], FRAME)
    assert text == '{"reasoning":"é","entities":[]}'


def entity(**fields):
    return {"span": "Ada", "type": "PER", "visible": True, "box": [0, 0, 5, 5], **fields}


def answer(*entities):
    return json.dumps({"reasoning": "", "entities": list(entities)})


REFUSALS = [
    ("", "not JSON"),
    ('{"reasoning": "", "entities": [', "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[]", "object with the required keys"),
    ('{"entities": []}', "object with the required keys"),
    ('{"reasoning": "", "entities": [], "more": 1}', "object with the required keys"),
    ('{"reasoning": 1, "entities": []}', "reasoning must be a string"),
    ('{"reasoning": "", "entities": {}}', "must be a list"),
    (answer("Ada"), "no span"),
    (answer({"type": "PER"}), "no span"),
    (answer(entity(span=1)), "no span"),
    (answer(entity(type="THING")), "unknown type"),
    (answer(entity(type=["PER"])), "unknown type"),
    (answer(entity(span="Bob")), "not in the text"),
    (answer(entity(span="Ad")), "not in the text"),
    (answer(entity(span="")), "not in the text"),
    (answer(entity(more=1)), "must have exactly"),
    (answer(entity(visible=1)), "must have exactly"),
    (answer(entity(visible=False)), "contradict each other"),
    (answer(entity(box=None)), "contradict each other"),
    (answer(entity(box="0 0 5 5")), "must be null or four integers"),
    (answer(entity(box=[0, 0, 5.0, 5])), "must be null or four integers"),
    (answer(entity(box=[0, 0, True, 5])), "must be null or four integers"),
    (answer(entity(box=[0, 0, 5])), "must be null or four integers"),
    (answer(entity(box=[0, 0, 65, 5])), "out of range"),
    (answer(entity(box=[5, 0, 0, 5])), "reversed corners"),
]


@pytest.mark.parametrize(("text", "fact"), REFUSALS)
def test_each_refusal(text, fact):
    with pytest.raises(AnswerError, match=fact) as caught:
        parse_answer(text, TEXT, COARSE, FRAME)
    assert len(str(caught.value)) < 1000


def test_reversed_corners_are_read_only_on_request():
    text = answer(entity(box=[5, 9, 0, 1]))
    assert parse_answer(text, TEXT, COARSE, FRAME, reorder=True).entities[0].box == Box(0, 1, 5, 9)


def test_no_box_without_an_image():
    blind = Frame(BoxFormat())
    with pytest.raises(AnswerError, match="without an image"):
        parse_answer(answer(entity()), TEXT, COARSE, blind)
    with pytest.raises(InputError, match="without an image"):
        blind.encode(Box(0, 0, 1, 1))


def test_load_object_requires_exactly_the_keys():
    assert load_object('{"b": 1, "a": 2}', ("a", "b")) == {"a": 2, "b": 1}


def test_error_message_has_fact_received_accepted_and_remedy():
    error = InputError("The split is unknown", received="x" * 500, accepted="train", remedy="Choose one")
    assert str(error).startswith("The split is unknown (got 'xxx")
    assert str(error).endswith("Accepted: train. Choose one.")
    assert len(str(error)) < 260
    assert error.kind == "bad_input"
