"""Training curves: one panel per figure, one point per step."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gmner.optimizers.curves import COLOURS, draw_curves, draw_key, draw_panels, ticks, write_log_curves


def test_a_legend_names_the_series_that_are_drawn():
    panels = {"share": {"first": {0: 1.0, 1: 2.0}, "empty": {}, "third < 3": {0: 2.0, 1: 1.0}}}
    svg = draw_curves(panels, axis="layers", legend=True)
    shown = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert shown[-2:] == ["first", "third < 3"]
    assert ">layers</text>" in svg
    assert "third &lt; 3, layer 1: 1.00" in svg
    assert "first" not in [element.text for element in ElementTree.fromstring(draw_curves(panels)).iter()]


def points(svg: str) -> list[list[tuple[float, float]]]:
    """The points of every curve in pixels, with y pointing down."""
    ElementTree.fromstring(svg)
    lines = re.findall(r'polyline points="([^"]*)"', svg)
    return [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines]


def test_curve_rises_from_left_to_right():
    ((first, middle, last),) = points(draw_curves({"reward": {1: 0.0, 2: 1.0, 3: 2.0}}))
    assert first[0] < middle[0] < last[0]
    assert first[1] > middle[1] > last[1]
    assert middle[1] == pytest.approx((first[1] + last[1]) / 2, abs=0.1)


def test_logarithmic_scale():
    ((first, middle, last),) = points(draw_curves({"loss": {5: 100.0, 10: 10.0, 15: 1.0}}, logarithmic=True))
    assert middle[1] - first[1] == pytest.approx(last[1] - middle[1], abs=0.2)


@pytest.mark.parametrize("curve", [{1: 2.0}, {1: 2.0, 2: 2.0}])
def test_single_step_and_flat_curve(curve: dict[int, float]):
    ((*_, last),) = points(draw_curves({"reward": curve}))
    assert all(math.isfinite(value) for value in last)


def test_title_is_escaped():
    svg = draw_curves({"a < b & c": {1: 1.0, 2: 2.0}})
    assert any((node.text or "").startswith("a < b & c") for node in ElementTree.fromstring(svg).iter())


def test_panels_of_a_page_are_drawn_one_by_one():
    panels = {'a "b" <c>': {1: 1.0, 2: 2.0}, "empty": {}, "loss": {"a": {1: 1.0}, "b": {1: 3.0, 4: 1.0}}}
    first, second = draw_panels(panels)
    assert ElementTree.fromstring(first).attrib["aria-label"] == 'a "b" <c>: 1.00 to 2.00'
    assert ElementTree.fromstring(second).attrib["aria-label"] == "loss: a 1.00; b 3.00 to 1.00"
    assert [len(curve) for curve in points(first) + points(second)] == [2, 1, 2]
    assert points(first) == points(draw_curves({"a": panels['a "b" <c>']}))


def test_missing_log_entries_are_not_drawn(tmp_path: Path):
    log = [
        {"step": 1, "reward": 1.0, "entropy": 0.5, "completions/mean_length": 30.0},
        {"step": 2, "reward": 2.0, "entropy": math.nan, "completions/mean_length": 40.0},
        {"step": 2, "train_runtime": 3.0},
    ]
    svg = write_log_curves(log, tmp_path).read_text(encoding="utf-8")
    assert [len(curve) for curve in points(svg)] == [2, 1, 2]
    assert "1.00 to 2.00" in svg
    assert "spread" not in svg


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6), most=st.integers(3, 8))
def test_ticks_are_few_and_round_and_enclose_the_values(low: float, span: float, most: int):
    assume(span > 1e-5 * abs(low))
    high = low + span
    found = ticks(low, high, most)
    assert 2 <= len(found) <= most + 1
    assert found == sorted(found)
    assert found[0] <= low + span * 1e-6
    assert found[-1] >= high - span * 1e-6


def test_several_series_share_axes_and_keep_their_colours():
    curves = {"loss": {"a": {1: 1.0, 2: 0.5}, "b": {1: 3.0, 4: 1.0}}, "reward": {"a": {}, "b": {1: 0.0, 2: 1.0}}}
    svg = draw_curves(curves)
    strokes = re.findall(r'<polyline points="[^"]*" fill="none" stroke="([^"]*)"', svg)
    assert strokes == [COLOURS[0], COLOURS[1], COLOURS[1]]
    dashed = ["stroke-dasharray" in line for line in re.findall("<polyline [^>]*>", svg)]
    assert dashed == [False, True, True]  # they differ without colour, too
    assert re.findall("stroke[^/]*", draw_key(1)) == re.findall("<polyline [^>]*? (stroke=[^/]*)", svg)[1:2]
    (a, b, _) = points(svg)
    assert a[0][1] > b[0][1]  # 1.0 is below 3.0
    assert b[1][0] > a[1][0]
    assert "<title>b, step 4: 1.00</title>" in svg


def test_long_curves_have_few_points_under_the_mouse():
    svg = draw_curves({"loss": {step: 1.0 / step for step in range(1, 2001)}})
    assert 100 <= svg.count("<circle") <= 150
    assert len(points(svg)[0]) == 2000
