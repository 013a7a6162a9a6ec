"""Posts with several images: the number of an image beside each box, in boxes, schemas and answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from several_images import SIZES, TEXT, gold

from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import AnswerError, InputError
from gmner.signatures.forms import Request, as_data, as_entity, form_of
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import answer_schema, longest_answer, served_schema
from gmner.signatures.wire import Frame, parse_answer, render_answer

RESIZED = ((84, 56), (56, 84), (112, 56))
FORMATS = [
    BoxFormat(), BoxFormat("resized"), BoxFormat("original"), BoxFormat("normalized", 100),
    BoxFormat(order="yxyx"), BoxFormat("original", order="yxyx"), BoxFormat(form="floats"),
]  # fmt: skip


def frame_of(box_format: BoxFormat) -> Frame:
    (size, *more), (resized, *more_resized) = SIZES, RESIZED
    return Frame(box_format, size, resized, tuple(zip(more, more_resized, strict=True)))


def test_boxes_of_different_images_do_not_overlap():
    one, other = Box(1, 2, 3, 4), Box(1, 2, 3, 4, picture=2)
    assert one != other
    assert one.iou(other) == 0
    assert other.iou(Box(1, 2, 3, 4, picture=2)) == 1
    assert repr(one) == "Box(x1=1, y1=2, x2=3, y2=4)"
    assert repr(other) == "Box(x1=1, y1=2, x2=3, y2=4, picture=2)"


@pytest.mark.parametrize("number", [0, -1, 1.0, True, "1", None])
def test_invalid_number_of_an_image(number: object):
    with pytest.raises(InputError, match="picture of a box is invalid"):
        Box(1, 2, 3, 4, picture=number)


@pytest.mark.parametrize("box_format", FORMATS, ids=str)
def test_gold_answer_follows_the_schema_and_is_read_back(box_format: BoxFormat):
    frame = frame_of(box_format)
    request = Request(TEXT, COARSE, frame)
    form = form_of(["reasoning", "entities"])
    text = form.render({"reasoning": "why", "entities": gold()}, request)
    schema = form.schema(request)
    if box_format.form == "integers":  # jsonschema computes multiples of 0.001 inexactly
        assert not list(Draft202012Validator(schema).iter_errors(json.loads(text)))
        assert not list(Draft202012Validator(served_schema(schema)).iter_errors(json.loads(text)))
    assert len(text) <= longest_answer(schema)
    records = json.loads(text)["entities"]
    assert [list(record) for record in records] == [["span", "type", "visible", "picture", "box"]] * 4
    assert [record["picture"] for record in records] == [1, 3, 2, None]
    entities = form.parse(text, request, True)["entities"]
    for entity, wanted in zip(entities, gold(), strict=True):
        best = max((entity.box.iou(box) for box in wanted.boxes), default=None) if entity.box else None
        assert best is None if not wanted.boxes else best > 0.8


@given(st.data())
def test_box_is_read_from_its_own_image(data: st.DataObject):
    frame = frame_of(data.draw(st.sampled_from(FORMATS)))
    picture = data.draw(st.integers(1, 3))
    width, height = SIZES[picture - 1]
    xs, ys = (sorted(data.draw(st.lists(st.integers(0, side), min_size=2, max_size=2))) for side in (width, height))
    box = Box(float(xs[0]), float(ys[0]), float(xs[1]), float(ys[1]), picture=picture)
    read = frame.decode(frame.encode(box), picture)
    assert read.picture == picture
    grid = 1.02 * max(width, height) / 100
    assert all(abs(a - b) <= grid for a, b in zip(read.as_tuple(), box.as_tuple(), strict=True))


@pytest.mark.parametrize("box_format", FORMATS, ids=str)
def test_grounding_answer(box_format: BoxFormat):
    request = Request(TEXT, COARSE, frame_of(box_format), "Bo")
    form = form_of(["box"])
    for box in (gold()[1].boxes[0], None):
        text = form.render({"box": box}, request)
        assert not list(Draft202012Validator(form.schema(request)).iter_errors(json.loads(text)))
        assert form.schema(request)["type"] == "object"  # servers accept no other root
        read = form.parse(text, request, True)["box"]
        assert (read is None) == (box is None)
        assert box is None or (read.picture == 3 and read.iou(box) > 0.8)


def entity(**changes: object) -> dict[str, object]:
    return {"span": "Ada", "type": "PER", "visible": True, "picture": 1, "box": [1, 2, 3, 4], **changes}


@pytest.mark.parametrize(
    ("record", "fact"),
    [
        (entity(picture=4), "not the number of an image"),
        (entity(picture=0), "not the number of an image"),
        (entity(picture="1"), "not the number of an image"),
        (entity(picture=True), "not the number of an image"),
        (entity(picture=None), "`picture` and `box` contradict each other"),
        (entity(box=None), "`picture` and `box` contradict each other"),
        (entity(picture=None, box=None), "`visible` and `box` contradict each other"),
        (entity(box=[1, 2, 120, 40]), "out of range"),  # fits the third image only
        ({k: v for k, v in entity().items() if k != "picture"}, "exactly span, type, visible, picture and box"),
    ],
)
def test_invalid_answers(record: dict[str, object], fact: str):
    frame = frame_of(BoxFormat("original"))
    text = json.dumps({"reasoning": "", "entities": [record]})
    with pytest.raises(AnswerError, match=fact):
        parse_answer(text, TEXT, COARSE, frame)
    schema = answer_schema(TEXT, COARSE, frame.box_format, frame.size, more=frame.more)
    assert list(Draft202012Validator(schema).iter_errors(json.loads(text)))


@pytest.mark.parametrize("text", ['{"region":{"picture":1}}', '{"region":{"picture":null,"box":null}}', '{"box":null}'])
def test_invalid_grounding_answers(text: str):
    with pytest.raises(AnswerError):
        form_of(["box"]).parse(text, Request(TEXT, COARSE, frame_of(BoxFormat()), "Bo"), True)


def test_number_of_an_image_is_refused_where_there_is_one():
    text = json.dumps({"reasoning": "", "entities": [entity()]})
    with pytest.raises(AnswerError, match="exactly span, type, visible and box"):
        parse_answer(text, TEXT, COARSE, Frame(BoxFormat(), SIZES[0]))


def test_box_in_an_image_that_does_not_exist_cannot_be_written():
    mention = GoldEntity("Ada", 0, 3, "PER", (Box(1, 2, 3, 4, picture=4),))
    with pytest.raises(InputError, match=r"image that the post does not have \(got 4\)\. Accepted: 1 to 3"):
        render_answer("", [(mention, mention.boxes[0])], frame_of(BoxFormat()))


def test_images_with_one_range_of_coordinates_share_an_alternative():
    normalized, pixels = (
        answer_schema(TEXT, COARSE, f.box_format, f.size, f.resized, more=f.more)["properties"]["entities"]["items"]
        for f in (frame_of(BoxFormat()), frame_of(BoxFormat("original")))
    )
    assert [option["properties"]["picture"] for option in normalized["anyOf"]] == [
        {"enum": [1, 2, 3]},
        {"type": "null"},
    ]
    assert [option["properties"]["picture"] for option in pixels["anyOf"]] == [
        {"enum": [1]},
        {"enum": [2]},
        {"enum": [3]},
        {"type": "null"},
    ]


def test_entities_as_data():
    for wanted in map(as_entity, gold()):
        data = json.loads(json.dumps(as_data(wanted)))
        assert ("picture" in data) == (wanted.box is not None and wanted.box.picture > 1)
        assert as_entity(data) == wanted
