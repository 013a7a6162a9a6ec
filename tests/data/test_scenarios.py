"""nervaluate's scenarios and the scores of referring expressions."""

from dataclasses import replace

import pytest
from hypothesis import given
from strategies import perfect, posts

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.expressions import evaluate_expressions
from gmner.data.scoring.scenarios import SCENARIOS, text_scenarios
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity

TEXT = "Ada Lace met Al in Oslo"
GOLD = (GoldEntity("Ada Lace", 0, 8, "PER"), GoldEntity("Al", 13, 15, "PER"), GoldEntity("Oslo", 19, 23, "LOC"))
POST = Post("1", TEXT, None, GOLD)


def test_partial_span_and_wrong_type():
    found = (
        GroundedEntity("Ada", 0, 3, "PER"),
        GroundedEntity("Al", 13, 15, "ORG"),
        GroundedEntity("met", 9, 12, "ORG"),
    )
    scores = text_scenarios([Prediction("1", TEXT, "", found)], [POST])
    assert tuple(scores) == SCENARIOS
    rows = {name: (s.correct, s.incorrect, s.partial, s.missed, s.spurious) for name, s in scores.items()}
    assert rows == {
        "strict": (0, 2, 0, 1, 1),
        "exact": (1, 1, 0, 1, 1),
        "partial": (1, 0, 1, 1, 1),
        "ent_type": (1, 1, 0, 1, 1),
    }
    assert scores["partial"].f1 == pytest.approx(50)


@given(posts())
def test_perfect_prediction_in_every_scenario(post):
    for scores in text_scenarios([perfect(post)], [post]).values():
        assert (scores.correct, scores.missed, scores.spurious) == (len(post.gold), 0, 0)
        assert scores.f1 == (100 if post.gold else 0)


def test_missing_posts_and_invented_spans():
    lost = Prediction("1", TEXT, "", (GroundedEntity("Bob", -1, -1, "PER", None, Alignment.MISSING),))
    assert text_scenarios([lost], [POST])["strict"].spurious == 1
    assert text_scenarios([], [POST])["strict"].missed == 3
    assert text_scenarios([], [POST], types=["LOC"])["strict"].missed == 1


ONE, TWO, AWAY = Box(0, 0, 10, 10), Box(20, 20, 30, 30), Box(50, 50, 60, 60)


def expression(id_, *targets):
    return Post(id_, "the two dogs", None, (GoldEntity("the two dogs", 0, 12, "EXPRESSION", targets),))


def boxes(id_, *found):
    entity = GroundedEntity("the two dogs", 0, 12, "EXPRESSION", found[0] if found else None, more_boxes=found[1:])
    return Prediction(id_, "the two dogs", "", (entity,))


@pytest.mark.parametrize(
    ("targets", "found", "right"),
    [
        ((), (), True),
        ((), (ONE,), False),
        ((ONE,), (), False),
        ((ONE,), (ONE,), True),
        ((ONE,), (Box(0, 0, 10, 5),), True),  # exactly 0.5
        ((ONE,), (Box(0, 0, 10, 4.9),), False),
        ((ONE,), (ONE, AWAY), False),
        ((ONE, TWO), (TWO, ONE), True),
        ((ONE, TWO), (ONE, ONE), False),
        ((ONE, TWO), (ONE,), False),
    ],
)
def test_expression_is_correct_if_its_boxes_are_the_targets(targets, found, right):
    scores = evaluate_expressions([boxes("1", *found)], [expression("1", *targets)])
    assert scores.precision == 100 * right
    assert scores.n_acc == (None if targets else 100 * right)
    assert scores.t_acc == (100 * bool(found) if targets else None)


def test_shares_and_refusals():
    posts_ = [expression("1"), expression("2"), expression("3", ONE), expression("4", ONE)]
    scores = evaluate_expressions([boxes("2", ONE), boxes("3", ONE)], posts_)
    assert scores.to_dict() == {"precision": 50.0, "n_acc": 50.0, "t_acc": 50.0, "expressions": 4, "no_target": 2}
    with pytest.raises(InputError, match="must not be empty"):
        evaluate_expressions([], [])
    failed = [Prediction.failed(post.id, post.text, InputError("No answer")) for post in posts_]
    scores = evaluate_expressions(failed, posts_)
    assert (scores.precision, scores.n_acc, scores.t_acc) == (0, 0, 0)
    with pytest.raises(InputError, match=r"referring expressions.*evaluate_expressions"):
        evaluate(failed, posts_)
    with pytest.raises(InputError, match="same id"):
        evaluate_expressions([boxes("1"), boxes("1")], posts_)


@pytest.mark.parametrize(
    ("posts_", "fact"),
    [
        ([expression("1"), expression("1")], "occurs twice"),
        ([Post("1", "the two dogs")], "1 of 1 posts are not annotated"),
        ([replace(expression("1"), text="the two dogs!")], "has another text than the post"),
    ],
)
def test_expressions_that_cannot_be_scored(posts_, fact):
    with pytest.raises(InputError, match=fact):
        evaluate_expressions([boxes("1")], posts_)
