"""Scores: tables of examples, and properties for all posts and predictions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import answered, entities, perfect, posts

from gmner.data.scoring.entity_errors import Fault, find_errors
from gmner.data.scoring.pairing import TASKS, Scores, TaskCounts, pair_mentions
from gmner.data.scoring.protocols import PAPER
from gmner.data.scoring.region_rule import RegionRule
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity, GroundedEntity

WHOLE, HALF, MORE, AWAY = Box(0, 0, 10, 10), Box(0, 0, 10, 5), Box(0, 0, 10, 5.01), Box(50, 50, 60, 60)
TEXT = "Ada met Al Ray"


def gold(start, end, type_="PER", *boxes):
    return GoldEntity(TEXT[start:end], start, end, type_, boxes)


def predicted_entity(start, end, type_="PER", box=None):
    return GroundedEntity(TEXT[start:end], start, end, type_, box)


@pytest.mark.parametrize(
    ("box", "boxes", "right"),
    [
        (None, (), True),
        (WHOLE, (), False),
        (None, (WHOLE,), False),
        (WHOLE, (WHOLE,), True),
        (HALF, (WHOLE,), False),  # exactly 0.5 is not above 0.5
        (MORE, (WHOLE,), True),
        (AWAY, (WHOLE,), False),
        (AWAY, (WHOLE, AWAY), True),  # any one of several
        (Box(0, 0, 60, 60), (WHOLE, AWAY), False),  # the hull of several is wrong
    ],
)
def test_region_rule_of_the_paper(box, boxes, right):
    assert PAPER.region.right(box, boxes) is right


def test_iou_of_exactly_half_by_protocol():
    assert RegionRule(0.5, inclusive=True).right(HALF, (WHOLE,))
    assert not RegionRule(0.5, inclusive=False).right(HALF, (WHOLE,))


A, B = gold(0, 3, "PER", WHOLE), gold(8, 10, "PER")


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        ([predicted_entity(0, 3, "PER", WHOLE), predicted_entity(8, 10)], (2, 2, 2)),
        ([predicted_entity(0, 3, "ORG", WHOLE), predicted_entity(8, 10)], (1, 1, 2)),
        ([predicted_entity(0, 3), predicted_entity(8, 10)], (1, 2, 1)),
        ([predicted_entity(0, 3, "PER", AWAY), predicted_entity(8, 10, "PER", AWAY)], (0, 2, 0)),
        ([predicted_entity(0, 3, "PER", HALF), predicted_entity(8, 10, "PER")], (1, 2, 1)),
        ([predicted_entity(0, 2, "PER", WHOLE), predicted_entity(8, 14)], (0, 0, 0)),
        ([predicted_entity(8, 10)] * 3, (1, 1, 1)),  # predicted three times, correct once
        ([predicted_entity(0, 3, "PER", AWAY), predicted_entity(0, 3, "ORG", WHOLE)], (0, 1, 1)),
        ([], (0, 0, 0)),
    ],
)
def test_counts_examples(answer, correct):
    counts = PAPER([A, B], answer)
    assert tuple(counts[task].correct for task in TASKS) == correct
    assert all((counts[task].predicted, counts[task].gold) == (len(answer), 2) for task in TASKS)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0, 0), (100, 100, 100)),
        ((0, 3, 0), (0, 0, 0)),
        ((0, 0, 3), (0, 0, 0)),
        ((0, 2, 3), (0, 0, 0)),
        ((1, 2, 4), (50, 25, 100 / 3)),
        ((3, 3, 3), (100, 100, 100)),
    ],
)
def test_scores_examples(counts, expected):
    scores = Scores.of(TaskCounts(*counts))
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx(expected)
    assert scores.to_dict()["f1"] == scores.f1


def f1(post, answer):
    return {task: Scores.of(counts).f1 for task, counts in PAPER(post.gold, answer).items()}


@given(posts())
def test_perfect_prediction_scores_100_and_none_scores_0(post):
    assert set(f1(post, perfect(post).entities).values()) == {100.0}
    assert set(f1(post, ()).values()) == {0.0 if post.gold else 100.0}


@given(answered(), st.randoms())
def test_order_of_entities_is_ignored(pair, random):
    post, answer = pair
    shuffled, mixed = list(answer), list(post.gold)
    random.shuffle(shuffled)
    random.shuffle(mixed)
    assert PAPER(mixed, shuffled) == PAPER(post.gold, answer)


@given(answered(), st.data())
def test_wrong_and_repeated_entities_never_raise_a_score(pair, data):
    post, answer = pair
    counts = PAPER(post.gold, answer)
    wrong = data.draw(entities(post.text).filter(lambda e: e.key not in {g.key for g in post.gold}))
    for more in ([*answer, wrong], [*answer, *answer]):
        after = PAPER(post.gold, more)
        assert all(after[task].correct == counts[task].correct for task in TASKS)
        assert all(Scores.of(after[task]).f1 <= Scores.of(counts[task]).f1 for task in TASKS)


@given(answered())
def test_gmner_is_the_hardest_task(pair):
    post, answer = pair
    counts = PAPER(post.gold, answer)
    assert counts["gmner"].correct <= min(counts["mner"].correct, counts["eeg"].correct)
    assert all(counts[task].correct <= min(len(post.gold), len(answer)) for task in TASKS)


@given(answered())
def test_pairs_are_a_maximum_matching(pair):
    post, answer = pair
    pairs = pair_mentions(post.gold, answer)
    assert len({g for g, _ in pairs}) == len({p for _, p in pairs}) == len(pairs)
    assert all(post.gold[g].key == answer[p].key for g, p in pairs)
    assert len(pairs) == len({g.key for g in post.gold} & {p.key for p in answer})


def test_ties_are_paired_by_box_then_by_type():
    boxes = (AWAY, HALF, WHOLE, None)
    for order in itertools.permutations(boxes):
        ((_, chosen),) = pair_mentions([A], [predicted_entity(0, 3, "PER", box) for box in order])
        assert order[chosen] == WHOLE
        ((_, chosen),) = pair_mentions([B], [predicted_entity(8, 10, "PER", box) for box in order])
        assert order[chosen] is None
    assert pair_mentions([B], [predicted_entity(8, 10, "ORG"), predicted_entity(8, 10, "PER")]) == [(0, 1)]


def test_gold_mentions_with_equal_offsets_are_paired_one_to_one():
    twins = [gold(0, 3, "PER", WHOLE), gold(0, 3, "ORG", AWAY)]
    assert pair_mentions(twins, [predicted_entity(0, 3, "ORG", AWAY), predicted_entity(0, 3, "PER", WHOLE)]) == [
        (0, 1),
        (1, 0),
    ]
    assert PAPER(twins, [predicted_entity(0, 3, "ORG", AWAY)] * 2)["gmner"].correct == 1


@pytest.mark.parametrize(
    ("answer", "faults"),
    [
        ([predicted_entity(0, 3, "PER", WHOLE), predicted_entity(8, 10)], [(), ()]),
        (
            [predicted_entity(0, 3, "ORG", AWAY), predicted_entity(8, 10, "PER", AWAY)],
            [("wrong_type", "wrong_box"), ("boxed_absent",)],
        ),
        ([predicted_entity(0, 3), predicted_entity(8, 14)], [("unboxed_shown",), ("wrong_span",)]),
        ([predicted_entity(4, 7)], [("missed",), ("invented",), ("missed",)]),
        ([predicted_entity(8, 10), predicted_entity(8, 10)], [("missed",), (), ("invented",)]),
        ([predicted_entity(0, 2), predicted_entity(0, 7)], [("wrong_span",), ("invented",), ("missed",)]),
    ],
)
def test_error_classes_examples(answer, faults):
    found = sorted(v.faults for v in find_errors([A, B], answer))
    assert found == sorted(tuple(Fault(name) for name in row) for row in faults)


def test_wrong_span_is_the_one_with_the_larger_overlap():
    (first, second, _) = find_errors(
        [gold(8, 14)], [predicted_entity(8, 10), predicted_entity(7, 14), predicted_entity(0, 3)]
    )
    assert {v.predicted.key: v.faults for v in (first, second)}[(0, 3)] == (Fault.INVENTED,)
    (paired,) = [v for v in find_errors([gold(8, 14)], [predicted_entity(8, 10), predicted_entity(7, 14)]) if v.gold]
    assert paired.predicted.key == (7, 14)


@given(answered())
def test_every_mention_has_one_error_class(pair):
    post, answer = pair
    verdicts = find_errors(post.gold, answer)
    assert sorted(v.gold.key for v in verdicts if v.gold) == sorted(g.key for g in post.gold)
    assert sorted(v.predicted.key for v in verdicts if v.predicted) == sorted(p.key for p in answer)
    right = sum(not v.faults for v in verdicts)
    assert right <= PAPER(post.gold, answer)["gmner"].correct
    assert [v.faults for v in find_errors(post.gold, perfect(post).entities)] == [()] * len(post.gold)


def test_every_error_class_has_a_label():
    assert len({fault.label for fault in Fault}) == len(Fault)
