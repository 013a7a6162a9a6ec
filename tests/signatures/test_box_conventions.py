"""Order and form of boxes: the same box in every convention, from the prompt through grammar and parser to a reward."""

import itertools
import json

import jsonschema
import pytest
from engine_requests import admits
from hypothesis import given
from hypothesis import strategies as st
from strategies import boxes

from gmner.data.post import Post
from gmner.optimizers.chains.checker import Contradiction, check_chain
from gmner.optimizers.chains.styles.facts import Facts
from gmner.optimizers.rewards import reward_columns
from gmner.optimizers.rewards.judgement import judge
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import AnswerError, InputError
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import answer_schema, box_schema, grounding_schema, longest_answer, served_schema
from gmner.signatures.wire import Frame, dump, load_box, parse_answer, render_answer

YXYX = BoxFormat(order="yxyx")
FLOATS = BoxFormat(form="floats")
CONVENTIONS = [
    BoxFormat(frame, scale, order, form)
    for frame, scale, order, form in itertools.product(
        ("normalized", "resized", "original"), (100, 1000), ("xyxy", "yxyx"), ("integers", "floats")
    )
    if form == "integers" or frame == "normalized"
]
SIZE, RESIZED = (640, 480), (336, 252)
BOX = Box(64, 240, 128, 480)


@pytest.mark.parametrize(
    ("box_format", "wire", "said"),
    [
        (BoxFormat(), (100, 500, 200, 1000), "[x1, y1, x2, y2], integers, 0 to 1000 of the picture's width and height"),
        (YXYX, (500, 100, 1000, 200), "[y1, x1, y2, x2], integers, 0 to 1000 of the picture's width and height"),
        (FLOATS, (0.1, 0.5, 0.2, 1.0), "[x1, y1, x2, y2], decimals, 0 to 1 of the picture's width and height"),
        (
            BoxFormat("normalized", 100, "yxyx", "floats"),
            (0.5, 0.1, 1.0, 0.2),
            "[y1, x1, y2, x2], decimals, 0 to 1 of the picture's width and height",
        ),
        (BoxFormat("original", order="yxyx"), (240, 64, 480, 128), "[y1, x1, y2, x2], integers, pixels of the picture"),
    ],
)
def test_one_box_in_each_convention(box_format, wire, said):
    assert box_format.encode(BOX, SIZE) == wire
    assert {type(value) for value in wire} == {float if box_format.form == "floats" else int}
    assert box_format.decode(wire, SIZE).iou(BOX) == pytest.approx(1)
    assert box_format.describe() == said


@given(st.data(), st.sampled_from(CONVENTIONS), st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
def test_wire_and_back_is_within_half_a_step_and_the_schema_admits_it(data, box_format, size):
    box = data.draw(boxes(size))
    frame = Frame(box_format, size, RESIZED)
    wire = json.loads(dump(frame.encode(box)))
    back = load_box(wire, frame)
    steps = box_format.extent(size, RESIZED)
    for before, after, side, extent in zip(box.as_tuple(), back.as_tuple(), size * 2, steps * 2, strict=True):
        assert abs(before - after) <= side / extent / 2 + 1e-6
    assert frame.encode(back) == wire
    schema = grounding_schema(box_format, size, RESIZED)
    jsonschema.validate({"box": wire}, served_schema(schema))
    assert len(dump({"box": wire})) <= longest_answer(schema)
    text = render_answer("", [], frame)
    assert parse_answer(text, "Ada", COARSE, frame).entities == ()


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("[0.1,0.5,0.2,1.0]", True),
        ("[0.0,0.999,0.001,1.0]", True),
        ("[0.100,0,1,0.25]", True),
        ("[0.1,0.5,0.2]", False),
        ("[0.1,0.5,0.2,1.001]", False),
        ("[-0.1,0.5,0.2,1.0]", False),
        ("[0.1234,0.5,0.2,1.0]", False),
        ("[1e-1,0.5,0.2,1.0]", False),
        ("[100,500,200,1000]", False),
    ],
)
def test_grammar_of_decimals_is_bounded(written, right):
    assert admits(box_schema(FLOATS, SIZE), written) is right
    if right:
        assert load_box(json.loads(written), Frame(FLOATS, SIZE), reorder=True) is not None
        assert len(written) <= longest_answer(box_schema(FLOATS, SIZE))


def test_grammar_follows_the_order():
    assert admits(box_schema(BoxFormat("original", order="yxyx"), SIZE), "[480,640,480,640]")
    assert not admits(box_schema(BoxFormat("original", order="yxyx"), SIZE), "[480,640,481,640]")
    assert not admits(box_schema(BoxFormat("original"), SIZE), "[480,640,480,640]")


def test_servers_get_decimals_without_multiple_of():
    schema = answer_schema("Ada", COARSE, FLOATS, SIZE)
    assert "multipleOf" in str(schema)
    assert "multipleOf" not in str(served_schema(schema))
    assert longest_answer(served_schema(schema)) > longest_answer(schema)


@pytest.mark.parametrize("box_format", CONVENTIONS, ids=str)
def test_reversed_corners_are_swapped_only_on_request(box_format):
    frame = Frame(box_format, SIZE, RESIZED)
    a, b, c, d = frame.encode(BOX)
    assert load_box([c, d, a, b], frame, reorder=True) == load_box([a, b, c, d], frame)
    with pytest.raises(AnswerError, match="reversed corners"):
        load_box([c, d, a, b], frame)


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ([100, 500, 200, 1000], "out of range"),
        ([0.1, 0.5, 0.2, float("nan")], "out of range"),
        ([0.1, 0.5, 0.2, True], "four numbers from 0 to 1"),
        ([0.1, 0.5, 0.2, "1"], "four numbers from 0 to 1"),
        ([0.1, 0.5, 0.2], "four numbers from 0 to 1"),
    ],
)
def test_parser_refuses_what_is_not_in_the_form(value, fact):
    with pytest.raises(AnswerError, match=fact):
        load_box(value, Frame(FLOATS, SIZE))


def test_parser_refuses_decimals_where_the_model_writes_integers():
    with pytest.raises(AnswerError, match="four integers"):
        load_box([0.1, 0.5, 0.2, 1.0], Frame(BoxFormat(), SIZE))


@pytest.mark.parametrize(
    "value", [[0.1, 0.5, 0.2, 1.0], [100, 200, 500, 1200], [100, 200, 500], "<loc0100><loc0200><loc0500><loc0600>"]
)
def test_error_of_a_box_in_another_convention_names_the_probe(value):
    with pytest.raises(AnswerError, match="gmner probe MODEL"):
        load_box(value, Frame(BoxFormat(), SIZE))


def test_range_in_an_error_follows_the_order():
    with pytest.raises(InputError, match=r"0\.\.480 and 0\.\.640"):
        BoxFormat("original", order="yxyx").decode([0, 0, 481, 1], SIZE)


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"order": "xywh"}, "order of a BoxFormat is unknown"),
        ({"form": "tokens"}, "form of a BoxFormat is unknown"),
        ({"frame": "cm"}, "frame of a BoxFormat is unknown"),
        ({"scale": True}, "scale of a BoxFormat is invalid"),
        ({"form": "floats", "frame": "resized"}, "`floats` of a BoxFormat needs"),
        ({"form": "floats", "scale": 999}, "`floats` of a BoxFormat needs"),
        ({"form": "floats", "scale": 1}, "`floats` of a BoxFormat needs"),
    ],
)
def test_invalid_conventions_are_refused(arguments, fact):
    with pytest.raises(InputError, match=fact):
        BoxFormat(**arguments)


@pytest.mark.parametrize("box_format", CONVENTIONS, ids=str)
def test_data_of_a_convention_gives_it_back(box_format):
    assert BoxFormat(**box_format.as_data()) == box_format


def test_data_of_earlier_conventions_is_as_before():
    assert BoxFormat("resized").as_data() == {"frame": "resized", "scale": 1000}


GOLD = GoldEntity("Ada", 0, 3, "PER", (BOX,))
POST = Post("p", "Ada sings", entities=(GOLD,))


@pytest.mark.parametrize("box_format", CONVENTIONS, ids=str)
def test_rewards_judge_boxes_in_the_convention(box_format):
    frame = Frame(box_format, SIZE, RESIZED)
    columns = reward_columns(POST, frame)
    answer = render_answer("", [(GOLD, BOX)], frame)
    judged = judge(answer, POST.text, columns["gold"], SIZE, RESIZED, COARSE, box_format)
    assert judged is not None
    assert judged.findings[0].iou > 0.95


@pytest.mark.parametrize("box_format", CONVENTIONS, ids=str)
def test_checker_reads_boxes_in_the_convention(box_format):
    facts = Facts(POST.gold, None, Frame(box_format, SIZE, RESIZED), POST.text, None, tuple(COARSE))
    right = f"Ada (PER) is shown at {facts.at(BOX)}."
    assert check_chain(right, facts) == []
    wrong = f"Ada (PER) is shown at {facts.at(Box(300, 0, 640, 200))}."
    assert [problem.kind for problem in check_chain(wrong, facts)] == [Contradiction.WRONG_BOX]
