"""Intervals and the paired test: comparison with direct implementations, and properties."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import answered, perfect

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.pairing import TASKS, TaskCounts
from gmner.data.scoring.resampling import compare, f1_intervals
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity

TEXT = "Ada met Al"
ADA, AL = GoldEntity("Ada", 0, 3, "PER"), GoldEntity("Al", 8, 10, "PER")
POSTS = [Post(str(n), TEXT, None, (ADA, AL)) for n in range(200)]


def answer(post, *entities):
    return Prediction(post.id, TEXT, "", tuple(GroundedEntity(e.span, e.start, e.end, e.type) for e in entities))


def system(right_of_ten):
    """A system that finds both mentions in `right_of_ten` of ten posts and one in the others."""
    return evaluate([answer(p, ADA, *[AL] * (n % 10 < right_of_ten)) for n, p in enumerate(POSTS)], POSTS)


def test_intervals_equal_a_direct_bootstrap():
    counts = [dict.fromkeys(TASKS, TaskCounts(n % 3, 2, 2)) for n in range(60)]
    low, high = f1_intervals(counts, TASKS, 0)["gmner"]
    rng = np.random.default_rng(1)
    draws = rng.integers(0, 60, (4000, 60)) % 3
    expected = np.percentile(200 * draws.sum(axis=1) / (60 * 4), [2.5, 97.5])
    assert (low, high) == pytest.approx(tuple(expected), abs=1.5)
    assert f1_intervals(counts, ("mner",), 0).keys() == {"mner"}


def test_system_equals_itself():
    same = compare(system(5), system(5))
    for difference in same.tasks.values():
        assert (difference.difference, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)


def test_significance_of_clear_and_small_differences():
    clear = compare(system(2), system(8)).tasks["gmner"]
    assert clear.difference == clear.second - clear.first > 10
    assert clear.low > 5
    assert clear.p_value < 0.001
    one = evaluate([answer(p, ADA, *[AL] * (n != 0)) for n, p in enumerate(POSTS)], POSTS)
    small = compare(one, evaluate([answer(p, ADA, AL) for p in POSTS], POSTS)).tasks["gmner"]
    assert small.low <= 0 <= small.difference < 1
    assert small.p_value == pytest.approx(1)  # with one differing post, every swap is as extreme


def test_p_value_equals_exact_permutation_test():
    posts = POSTS[:10]
    first = evaluate([answer(p, ADA, *[AL] * (n < 2)) for n, p in enumerate(posts)], posts)
    second = evaluate([answer(p, ADA, *[AL] * (n < 8)) for n, p in enumerate(posts)], posts)
    gains = np.array([0, 0, 1, 1, 1, 1, 1, 1, 0, 0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 10)).reshape(10, -1)

    def f1(correct):
        return 200 * correct / (correct + 20)

    base = np.array([2] * 2 + [1] * 8)
    swapped = (signs < 0).astype(int)
    left, right = (base[:, None] + gains[:, None] * side for side in (swapped, 1 - swapped))
    extreme = np.abs(f1(right.sum(0)) - f1(left.sum(0))) >= abs(f1(18) - f1(12)) - 1e-9
    assert compare(first, second).tasks["gmner"].p_value == pytest.approx(extreme.mean(), abs=0.01)


@pytest.mark.slow
@given(answered(), st.data())
def test_comparison_is_antisymmetric(pair, data):
    post, found = pair
    other = data.draw(st.permutations(found)) if found else []
    systems = [evaluate([Prediction(post.id, post.text, "", tuple(e))], [post]) for e in (found[:1], other)]
    there, back = compare(*systems), compare(*systems[::-1])
    for task in TASKS:
        assert there.tasks[task].difference == pytest.approx(-back.tasks[task].difference)
        assert 0 < there.tasks[task].p_value <= 1


def test_systems_on_different_posts_are_refused():
    with pytest.raises(InputError, match="different posts"):
        compare(system(5), evaluate([answer(POSTS[0], ADA)], POSTS[:1]))
    with pytest.raises(InputError, match="different protocols"):
        compare(system(5), evaluate([answer(p, ADA) for p in POSTS], POSTS, "riveg"))


def test_without_regions_only_mner_is_compared():
    posts = [replace(post, grounded=False) for post in POSTS]
    evaluation = evaluate([perfect(post) for post in posts], posts)
    assert compare(evaluation, evaluation).tasks.keys() == {"mner"}


def test_comparison_representations():
    comparison = compare(system(2), system(8))
    assert json.loads(json.dumps(comparison.to_dict()))["tasks"]["gmner"]["p_value"] < 0.01
    assert "GMNER" in repr(comparison)
    assert "p = 0.0001" in repr(comparison)


def test_comparison_prints_gain_and_names():
    shown = repr(compare(system(2), system(8), names=("before", "after")))
    assert "before" in shown.splitlines()[1]
    assert "after - before" in shown
    assert compare(system(2), system(8)).tasks["gmner"].difference > 0
    assert "second - first" in repr(compare(system(2), system(8)))
