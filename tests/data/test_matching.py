"""Counting gives the same result as comparing every gold mention with every prediction, with less work."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring import bias, matching, region_rule
from gmner.data.scoring.counting import _offset_rows, _word_rows, place_key
from gmner.data.scoring.counts import count_post
from gmner.data.scoring.entity_errors import _overlapping, find_errors
from gmner.data.scoring.matching import GoldRegions, count_right
from gmner.data.scoring.pairing import TASKS, TaskCounts, pair_mentions
from gmner.data.scoring.protocols import PROTOCOLS
from gmner.data.scoring.region_rule import RegionRule, best_iou
from gmner.signatures.boxes import Box, iou
from gmner.signatures.mentions import GoldEntity, GroundedEntity

BOXES = [Box(0, 0, 10, 10), Box(0, 0, 10, 5), Box(0, 0, 10, 6), Box(0, 1, 10, 9), Box(40, 40, 60, 60), Box(3, 3, 3, 3)]
WORDS = [("Ana", 0, 3), ("Ana", 8, 11), ("Bo", 4, 6), ("Cy", -1, -1), ("Di", -1, -1), ("na", 1, 3)]
_boxes = st.sampled_from(BOXES)
_kinds = st.sampled_from(["PER", "ORG"])
golds = st.lists(
    st.builds(
        lambda words, kind, boxes: GoldEntity(*words, kind, tuple(boxes)),
        st.sampled_from(WORDS),
        _kinds,
        st.lists(_boxes, max_size=3),
    ),
    max_size=9,
)
answers = st.lists(
    st.builds(
        lambda words, kind, box, more: GroundedEntity(*words, kind, box, more_boxes=tuple(more) if box else ()),
        st.sampled_from(WORDS),
        _kinds,
        st.none() | _boxes,
        st.lists(_boxes, max_size=2),
    ),
    max_size=9,
)


def _largest(edges: list[tuple[int, int]]) -> int:
    if not edges:
        return 0
    weights = np.zeros((1 + max(g for g, _ in edges), 1 + max(p for _, p in edges)))
    weights[tuple(zip(*edges, strict=True))] = 1
    return int(weights[linear_sum_assignment(weights, maximize=True)].sum())


def _one_to_one(gold, predicted, same: Callable, right: Callable) -> dict[str, TaskCounts]:
    """Matching by comparing every gold mention with every prediction."""
    pairs = [(i, j) for i, j in product(range(len(gold)), range(len(predicted))) if same(gold[i], predicted[j])]
    rules = {
        "gmner": lambda g, p: g.type == p.type and right(g, p),
        "mner": lambda g, p: g.type == p.type,
        "eeg": right,
    }
    return {
        task: TaskCounts(_largest([(i, j) for i, j in pairs if rule(gold[i], predicted[j])]), len(predicted), len(gold))
        for task, rule in rules.items()
    }


@given(golds, answers)
def test_one_to_one_protocols_equal_exhaustive_matching(gold, predicted):
    least, above = RegionRule(0.5, inclusive=True), RegionRule(0.5)

    def any_box(g, p):
        return any(least.right(box, g.boxes) for box in (p.box, *p.more_boxes))

    def words(g, p):
        return g.span == p.span

    expected = {
        "paper": _one_to_one(gold, predicted, lambda g, p: g.key == p.key, lambda g, p: above.right(p.box, g.boxes)),
        "riveg": _one_to_one(gold, predicted, words, lambda g, p: least.right(p.box, g.boxes)),
        "e2e-gmner": _one_to_one(gold, predicted, words, any_box),
    }
    assert {name: dict(PROTOCOLS[name](gold, predicted)) for name in expected} == expected


@given(golds, answers)
def test_riveg_protocol_equals_exhaustive_matching(gold, predicted):
    rule = PROTOCOLS["riveg-script"].region
    checks = {
        "gmner": lambda g, p: g.span == p.span and g.type == p.type and rule.right(p.box, g.boxes),
        "mner": lambda g, p: g.span == p.span and g.type == p.type,
        "eeg": lambda g, p: g.span == p.span and rule.right(p.box, g.boxes),
    }
    found = PROTOCOLS["riveg-script"](gold, predicted)
    assert {task: found[task].correct for task in TASKS} == {
        task: sum(any(right(g, p) for g in gold) for p in predicted) for task, right in checks.items()
    }


@given(golds, answers)
def test_set_protocols_equal_exhaustive_matching(gold, predicted):
    rule = PROTOCOLS["sake"].region
    places = [(g.span, box) for g in gold for box in g.boxes or (None,)]
    met = [
        next((n for n, (w, b) in enumerate(places, 1) if b and w == p.span and rule.right(p.box, [b])), -1)
        for p in predicted
    ]
    expected = [0 if p.box is None else number for p, number in zip(predicted, met, strict=True)]
    assert [row[2] for row in _word_rows(gold, predicted, rule, "gmner")[1]] == expected
    first = {}
    for entity in gold:
        first.setdefault(place_key(entity), entity.boxes)

    def nearest(p):
        boxes = first.get(place_key(p), ())
        if p.box is None or not boxes or not rule.right(p.box, boxes):
            return 0 if p.box is None else -1
        return 1 + [iou(p.box, box) for box in boxes].index(best_iou(p.box, boxes))

    assert [row[2] for row in _offset_rows(gold, predicted, rule, "gmner")[1]] == [nearest(p) for p in predicted]


@given(golds, answers)
def test_pairs_equal_exhaustive_matching(gold, predicted):
    def agreement(g, p):
        region = best_iou(p.box, g.boxes) if g.visible else float(p.box is None)
        return region + 1e-6 * (g.type == p.type)

    weights = np.zeros((len(gold), len(predicted)))
    for i, j in product(range(len(gold)), range(len(predicted))):
        weights[i, j] = (gold[i].key == predicted[j].key) * (1e4 + agreement(gold[i], predicted[j]))
    best = weights[linear_sum_assignment(weights, maximize=True)].sum()
    assert sum(weights[i, j] for i, j in pair_mentions(gold, predicted)) == pytest.approx(best, abs=1e-7)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
)
def test_overlapping_mentions_are_paired_largest_first(gold, predicted):
    golds = [GoldEntity("", *sorted(ends), "PER") for ends in gold]
    answers = [GroundedEntity("", *sorted(ends), "PER") for ends in predicted]
    common = [
        (-shared, i, j)
        for (i, g), (j, p) in product(enumerate(golds), enumerate(answers))
        if (shared := min(g.end, p.end) - max(g.start, p.start)) > 0 and g.key != p.key
    ]
    chosen = {}
    for _, i, j in sorted(common):
        if i not in chosen and j not in chosen.values():
            chosen[i] = j
    assert _overlapping(golds, answers) == list(chosen.items())


@given(st.lists(st.tuples(*[st.integers(0, 30)] * 4), min_size=1, max_size=120), st.integers(0, 119))
def test_overlaps_of_many_boxes_equal_single_ones(corners, place):
    boxes = [Box(min(a, c), min(b, d), max(a, c) + 0.5, max(b, d)) for a, b, c, d in corners]
    chosen = boxes[place % len(boxes)]
    regions = [(), *((box, boxes[0]) for box in boxes)] * (1 + 64 // len(boxes))
    assert GoldRegions(regions).best_ious(chosen).tolist() == [best_iou(chosen, region) for region in regions]


EQUAL, DISTINCT = "equal", "distinct boxes"


def _post(size: int, form: str) -> tuple[Post, list[GroundedEntity]]:
    boxes = [Box(0, 0, 10, 10 + (n % 997) / 1000 if form == DISTINCT else 10) for n in range(size)]
    gold = tuple(GoldEntity("Ana", 0, 3, "PER", (box,)) for box in boxes)
    return Post("a", "Ana", None, entities=gold), [GroundedEntity("Ana", 0, 3, "PER", box) for box in boxes]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_matching_of_equal_spans_is_not_quadratic(monkeypatch: pytest.MonkeyPatch, protocol: str):
    calls = {"iou": 0, "cells": 0}

    def counted(a: Box, b: Box) -> float:
        calls["iou"] += 1
        return iou(a, b)

    def searched(weights: np.ndarray, maximize: bool) -> tuple:
        calls["cells"] += weights.size
        return linear_sum_assignment(weights, maximize=maximize)

    for module in (matching, region_rule):
        monkeypatch.setattr(module, "iou", counted)
    monkeypatch.setattr("scipy.optimize.linear_sum_assignment", searched)
    work = []
    for size in (100, 800):
        post, predicted = _post(size, EQUAL)
        calls.update(iou=0, cells=0)
        counted_post = count_post(
            post, Prediction("a", "Ana", "", tuple(predicted)), PROTOCOLS[protocol], frozenset({"PER"})
        )
        if "sake" not in protocol and "mqspn" not in protocol and protocol != "h-index":
            assert counted_post.tasks["gmner"].correct == size
        work.append(sum(calls.values()))
    assert work[1] <= 10 * work[0] + 10


def test_boxes_of_equal_spans_are_compared_as_arrays(monkeypatch: pytest.MonkeyPatch):
    def never(a: Box, b: Box) -> float:
        raise AssertionError("compared one by one")

    monkeypatch.setattr(matching, "iou", never)
    post, predicted = _post(300, DISTINCT)
    regions = [entity.boxes for entity in post.gold]
    assert count_right(regions, [(p.box,) for p in predicted], RegionRule(0.9)) == 300
    assert len(pair_mentions(post.gold, predicted)) == 300


def test_equal_mentions_are_judged_and_their_bias_is_counted():
    post, predicted = _post(500, EQUAL)
    assert all(not verdict.faults for verdict in find_errors(post.gold, predicted))
    assert bias.count_bias(post, predicted).predicted == 500
