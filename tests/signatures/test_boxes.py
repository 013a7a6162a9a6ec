"""Boxes, IoU, and the coordinate conventions of the model families."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import boxes

from gmner.signatures.boxes import Box, BoxFormat, iou
from gmner.signatures.errors import InputError

NORMALIZED, RESIZED, ORIGINAL = BoxFormat(), BoxFormat("resized"), BoxFormat("original")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),  # they touch
        ((0, 0, 10, 10), (20, 20, 30, 30), 0.0),
        ((0.1, 0.1, 0.4, 0.4), (0.1, 0.1, 0.4, 0.4), 1.0),  # pixels are not taken to be whole
        ((3, 3, 3, 3), (3, 3, 3, 3), 1.0),
        ((3, 3, 3, 3), (0, 0, 10, 10), 0.0),
    ],
)
def test_iou_examples(a, b, expected):
    assert iou(Box(*a), Box(*b)) == pytest.approx(expected)


@given(boxes(), boxes())
def test_iou_is_symmetric_and_one_only_for_equal_boxes(a, b):
    assert iou(a, b) == iou(b, a) == a.iou(b)
    assert 0 <= iou(a, b) <= 1
    assert iou(a, a) == 1
    assert (iou(a, b) == 1) == (a == b)


@pytest.mark.parametrize(
    ("corners", "fact"),
    [
        ((5, 0, 4, 9), "reversed corners"),
        ((0, 5, 9, 4), "reversed corners"),
        ((0, 0, math.nan, 9), "not a finite number"),
        ((0, 0, math.inf, 9), "not a finite number"),
        (("0", 0, 1, 9), "not a finite number"),
    ],
)
def test_invalid_boxes_are_refused(corners, fact):
    with pytest.raises(InputError, match=fact):
        Box(*corners)


def test_area_and_inside():
    assert Box(1, 2, 4, 6).area == 12
    assert Box(0, 0, 10, 5).inside((10, 5))
    assert not Box(0, 0, 10.1, 5).inside((10, 5))
    assert not Box(-1, 0, 10, 5).inside((10, 5))


SIDES = st.integers(1, 4000)


@given(
    st.data(),
    SIDES,
    SIDES,
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.sampled_from((NORMALIZED, RESIZED, ORIGINAL)),
)
def test_encoding_round_trip_is_within_half_a_unit(data, width, height, rx, ry, box_format):
    size, resized = (width, height), (rx, ry)
    box = data.draw(boxes(size))
    ex, ey = box_format.extent(size, resized)
    back = box_format.decode(box_format.encode(box, size, resized), size, resized)
    for before, after, side, extent in zip(box.as_tuple(), back.as_tuple(), size * 2, (ex, ey) * 2, strict=True):
        assert abs(before - after) <= side / extent / 2 + 1e-6
    assert back.inside((size[0] + 1e-6, size[1] + 1e-6))


def test_coordinate_conventions_examples():
    box, size = Box(64, 24, 128, 48), (128, 48)
    assert NORMALIZED.encode(box, size) == (500, 500, 1000, 1000)
    assert RESIZED.encode(box, size, (56, 28)) == (28, 14, 56, 28)
    assert ORIGINAL.encode(box, size) == (64, 24, 128, 48)
    assert NORMALIZED.decode([500, 500, 1000, 1000], size) == box
    assert RESIZED.decode([28, 14, 56, 28], size, (56, 28)) == box


def test_encoding_clips_to_the_image():
    assert NORMALIZED.encode(Box(-5, 0, 105, 50), (100, 50)) == (0, 0, 1000, 1000)


@pytest.mark.parametrize(
    "wire", [[0, 0, 1001, 5], [-1, 0, 5, 5], [0, 0, 5], [0, 0, 5, 5, 5], [9, 0, 5, 5], [math.nan, 0, 5, 5]]
)
def test_decoding_refuses_coordinates_out_of_range(wire):
    with pytest.raises(InputError):
        NORMALIZED.decode(wire, (100, 50))


def test_resized_convention_needs_the_resized_size():
    with pytest.raises(InputError, match="resized image"):
        RESIZED.encode(Box(0, 0, 1, 1), (10, 10))


@pytest.mark.parametrize(("box_format", "unit"), [(NORMALIZED, "0 to 1000"), (RESIZED, "pixels"), (ORIGINAL, "pixels")])
def test_description_of_the_conventions(box_format, unit):
    assert unit in box_format.describe()


def test_repr_rounds_coordinates_and_values_do_not():
    box = Box(217.60000000000002, 41.6, 1000 / 3, 400)
    assert repr(box) == "Box(x1=217.6, y1=41.6, x2=333.33, y2=400)"
    assert box.as_tuple() == (217.60000000000002, 41.6, 1000 / 3, 400)
