"""Bias, evaluation and the metric for DSPy."""

import json
from dataclasses import replace

import dspy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import answered, perfect, posts

from gmner.data.post import Post, SceneObject
from gmner.data.prediction import Prediction
from gmner.data.scoring.bias import Bias, count_bias, picture_driven
from gmner.data.scoring.entity_errors import Fault
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.metric import gmner_metric, to_example
from gmner.data.scoring.pairing import Scores
from gmner.data.scoring.protocols import PAPER
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import AnswerError, InputError
from gmner.signatures.mentions import EXPRESSION, GoldEntity, GroundedEntity, expression_entity

WHOLE, AWAY = Box(0, 0, 10, 10), Box(50, 50, 60, 60)
TEXT = "Ada met Al in Oslo"
ADA, AL, OSLO = (
    GoldEntity("Ada", 0, 3, "PER", (WHOLE,)),
    GoldEntity("Al", 8, 10, "PER"),
    GoldEntity("Oslo", 14, 18, "LOC"),
)
SCENE = (SceneObject("Ada", "PER", WHOLE), SceneObject("MET", "ORG", AWAY))
POST = Post("1", TEXT, None, (ADA, AL, OSLO), scene=SCENE, slice="mixed")


def predicted_entity(gold, box=None, type_=None):
    return GroundedEntity(gold.span, gold.start, gold.end, type_ or gold.type, box)


MET = GroundedEntity("met", 4, 7, "ORG", AWAY)
BOB = GroundedEntity("Bob", -1, -1, "PER", None, Alignment.MISSING)


def answer(*entities, id_="1"):
    return Prediction(id_, TEXT, "", entities)


def test_textual_bias_examples():
    bias = Bias.of(count_bias(POST, [predicted_entity(ADA), predicted_entity(AL), predicted_entity(OSLO, AWAY), MET]))
    assert (bias.n_pre, bias.n_rec, bias.n_f1, bias.grounded_absent) == (50.0, 50.0, 50.0, 1)
    always = Bias.of(count_bias(POST, [predicted_entity(ADA), predicted_entity(AL), predicted_entity(OSLO)]))
    assert (always.n_pre, always.n_rec, always.grounded_absent) == (pytest.approx(200 / 3), 100.0, 0)


def test_bias_without_relevant_mentions():
    bias = Bias.of(count_bias(POST, []))
    assert (bias.n_pre, bias.n_rec, bias.n_f1, bias.n_rate) == (None, None, None, None)
    assert (bias.grounded_absent, bias.n_count) == (0, 0)


def test_visual_bias_examples():
    entities = [predicted_entity(ADA, WHOLE), MET, BOB]
    assert picture_driven(POST, entities) == [MET, BOB]
    assert picture_driven(replace(POST, scene=None), entities) == [BOB]
    elsewhere = GroundedEntity("in", 11, 13, "ORG")
    assert picture_driven(POST, [elsewhere]) == []  # wrong, but the image shows no such entity
    assert Bias.of(count_bias(POST, entities)).n_rate == pytest.approx(200 / 3)


def test_every_figure_of_a_small_example():
    empty = Post("2", TEXT, None, (), slice="empty")
    scores = evaluate(
        [answer(predicted_entity(ADA, WHOLE), predicted_entity(AL, AWAY), predicted_entity(OSLO, type_="ORG"), MET)],
        [POST, empty],
    )
    assert (scores.posts, scores.gmner.correct, scores.mner.correct, scores.eeg.correct) == (2, 1, 2, 2)
    assert (scores.gmner.precision, scores.gmner.recall) == (25.0, pytest.approx(100 / 3))
    assert (scores.found_of_shown, scores.boxed_of_absent) == (100.0, 50.0)
    counts = {fault: count for fault, count in scores.errors.items() if count}
    assert counts == {Fault.BOXED_ABSENT: 1, Fault.WRONG_TYPE: 1, Fault.INVENTED: 1}
    assert (scores.bias.grounded_absent, scores.bias.n_count) == (1, 1)
    assert {name: part.gmner.f1 for name, part in scores.by_slice.items()} == {
        "empty": 100.0,
        "mixed": pytest.approx(200 / 7),
    }
    assert {kind: row["mner"].f1 for kind, row in scores.by_type.items()} == {"LOC": 0, "ORG": 0, "PER": 100}
    assert scores.missing == ("2",)


def test_evaluate_accepts_programs_and_predictions():
    expected = evaluate([answer(predicted_entity(ADA, WHOLE))], [POST]).to_dict()

    class Batched:
        def batch_posts(self, posts, *, progress=True):
            assert not progress
            return [answer(predicted_entity(ADA, WHOLE), id_=post.id) for post in posts]

        def __call__(self, **fields):
            raise AssertionError("a program with a batched run is not asked post by post")

    def single(text, image):
        assert (text, image) == (TEXT, None)
        return dspy.Prediction(entities=[predicted_entity(ADA, WHOLE)], reasoning="why")

    sources = [
        Batched(),
        single,
        {"1": answer(predicted_entity(ADA, WHOLE), id_="other")},
        iter([answer(predicted_entity(ADA, WHOLE))]),
    ]
    for source in sources:
        assert evaluate(source, [POST], progress=False).to_dict() == expected
    assert evaluate(single, [POST], progress=False).predictions[0].reasoning == "why"


def test_library_errors_are_recorded_and_others_raised():
    def fails(text, image):
        raise AnswerError("The answer is not JSON")

    scores = evaluate(fails, [POST], progress=False)
    assert (scores.failed, scores.gmner.f1, scores.missing) == ({"bad_answer": 1}, 0.0, ())

    def broken(text, image):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(broken, [POST], progress=False)


@pytest.mark.parametrize(
    ("source", "given_posts", "fact"),
    [
        ([], [], "must not be empty"),
        ([], [POST, POST], "occurs twice"),
        ([], [replace(POST, entities=None)], "not annotated"),
        ([answer(), answer()], [POST], "same id"),
        ([Prediction("1", "another text")], [POST], "another text"),
        ([1], [POST], "Not a prediction"),
        ({"1": 1}, [POST], "Not a prediction"),
        (7, [POST], "Not a program or predictions"),
    ],
)
def test_each_refusal(source, given_posts, fact):
    with pytest.raises(InputError, match=fact):
        evaluate(source, given_posts)


def test_predictions_of_other_posts_are_ignored():
    scores = evaluate([answer(predicted_entity(ADA, WHOLE)), answer(MET, id_="9")], [POST])
    assert (scores.unknown, scores.gmner.predicted) == (("9",), 1)


@pytest.mark.slow
@given(st.lists(answered(), min_size=1, max_size=4), st.randoms())
def test_counts_are_additive_over_posts_slices_and_types(pairs, random):
    many = [replace(post, id=str(i), slice="ab"[i % 2]) for i, (post, _) in enumerate(pairs)]
    answers = [Prediction(p.id, p.text, "", tuple(found)) for p, (_, found) in zip(many, pairs, strict=True)]
    scores = evaluate(answers, many)
    for parts in ([part.gmner for part in scores.by_slice.values()], [row["gmner"] for row in scores.by_type.values()]):
        assert sum(part.correct for part in parts) == scores.gmner.correct
        assert sum(part.gold for part in parts) == scores.gmner.gold
        assert sum(part.predicted for part in parts) == scores.gmner.predicted
    counts = [PAPER(post.gold, found.entities)["gmner"] for post, found in zip(many, answers, strict=True)]
    assert scores.gmner.correct == sum(count.correct for count in counts)
    shuffled = list(answers)
    random.shuffle(shuffled)
    assert evaluate(shuffled, many).to_dict() == scores.to_dict()
    low, high = scores.intervals["gmner"]
    assert 0 <= low <= high <= 100
    assert scores.bias.n_count <= scores.gmner.predicted


@given(st.lists(posts(), min_size=1, max_size=4))
def test_perfect_answers_score_100(many):
    many = [replace(post, id=str(i)) for i, post in enumerate(many)]
    scores = evaluate([perfect(post) for post in many], many)
    assert {scores.gmner.f1, scores.mner.f1, scores.eeg.f1} == {100.0}
    assert set(scores.intervals.values()) == {(100.0, 100.0)}
    assert not any(scores.errors.values())
    assert scores.found_of_shown in (None, 100.0)
    assert scores.boxed_of_absent in (None, 0.0)


def test_interval_is_a_seeded_bootstrap_over_posts():
    many = [replace(POST, id=str(i)) for i in range(60)]
    answers = [
        answer(
            *([predicted_entity(ADA, WHOLE), predicted_entity(AL), predicted_entity(OSLO)] if i % 3 else []), id_=str(i)
        )
        for i in range(60)
    ]
    first, again, other = (evaluate(answers, many, seed=seed).intervals["gmner"] for seed in (1, 1, 2))
    assert first == again != other
    rng = np.random.default_rng(5)
    drawn = [np.sum(rng.integers(0, 60, 60) % 3 > 0) for _ in range(4000)]
    plain = np.percentile([200 * 3 * n / (3 * n + 180) for n in drawn], [2.5, 97.5])
    assert np.allclose(first, plain, atol=2)
    assert first[0] < evaluate(answers, many).gmner.f1 < first[1]


def test_evaluation_representations():
    other = replace(POST, id="2", slice="<script>")
    scores = evaluate([answer(predicted_entity(ADA, WHOLE))], [POST, other])
    assert json.loads(json.dumps(scores.to_dict()))["gmner"]["f1"] == scores.gmner.f1
    assert set(scores.to_dict()["bias"]) == {"n_pre", "n_rec", "n_f1", "grounded_absent", "n_count", "n_rate"}
    assert repr(scores) == scores.summary()
    for words in ("GMNER", f"{scores.gmner.f1:.2f}", "missed 5", "posts without a prediction 1"):
        assert words in scores.summary()
    page = scores._repr_html_()
    assert f"<td>{scores.gmner.f1:.2f}</td>" in page
    assert "<script>" not in page


@given(answered())
def test_metric_is_the_f1_of_one_post(pair):
    post, found = pair
    example, prediction = to_example(post), dspy.Prediction(entities=found, reasoning="")
    score = gmner_metric(example, prediction)
    assert type(score) is float
    assert score == Scores.of(PAPER(post.gold, found)["gmner"]).f1 / 100
    assert gmner_metric(example, prediction, trace=[]) == score
    told = gmner_metric(example, prediction, None, "predict", [])
    assert told.score == score
    faults = told.feedback.splitlines()[1:]
    assert bool(faults) or score == 1.0


def test_feedback_names_the_errors():
    wrong = [predicted_entity(ADA, AWAY), predicted_entity(AL, AWAY), GroundedEntity("in Oslo", 11, 18, "LOC"), MET]
    told = gmner_metric(to_example(POST), dspy.Prediction(entities=wrong), pred_name="predict")
    assert told.feedback.splitlines() == [
        "0 of 3 entities are fully right.",
        "Wrong box: 'Ada' is shown at [0, 0, 10, 10]; the answer was [50, 50, 60, 60].",
        "Invented: 'met' is no entity here, or was answered already.",
        "Boxed though not shown: the picture does not show 'Al'; its box must be null.",
        "Wrong span: 'in Oslo' should be 'Oslo' (LOC), not shown.",
    ]
    told = gmner_metric(
        to_example(POST), dspy.Prediction(entities=[predicted_entity(ADA, None, "ORG")]), pred_name="predict"
    )
    assert "Wrong type: 'Ada' is PER, not ORG." in told.feedback
    assert "the answer was null." in told.feedback
    assert "Missed: 'Oslo' is a named entity of type LOC, not shown." in told.feedback


def test_metric_works_in_dspy():
    class Fixed(dspy.Module):
        def forward(self, text, image):
            return dspy.Prediction(entities=[predicted_entity(ADA, WHOLE)], reasoning="")

    example = to_example(POST)
    assert set(example.inputs().keys()) == {"text", "image"}
    assert example.post is POST
    result = dspy.Evaluate(devset=[example], metric=gmner_metric, num_threads=1)(Fixed())
    assert result.score == 50.0


def test_scores_of_shown_and_not_shown():
    scores = evaluate(
        [answer(predicted_entity(ADA, WHOLE), predicted_entity(AL, AWAY), predicted_entity(OSLO))], [POST]
    )
    shown, absent = scores.by_region["shown"]["gmner"], scores.by_region["not shown"]["gmner"]
    assert (shown.correct, shown.predicted, shown.gold) == (1, 2, 1)
    assert (absent.correct, absent.predicted, absent.gold) == (1, 1, 2)


@given(answered())
def test_correct_entities_are_either_shown_or_not(pair):
    post, found = pair
    scores = evaluate([Prediction(post.id, post.text, "", tuple(found))], [post])
    assert sum(row["gmner"].correct for row in scores.by_region.values()) == scores.gmner.correct
    assert sum(row["mner"].correct for row in scores.by_type.values()) == scores.mner.correct


def test_without_regions_only_mner_is_scored():
    post = replace(POST, grounded=False, scene=None)
    scores = evaluate([answer(predicted_entity(ADA, WHOLE), predicted_entity(AL, type_="ORG"))], [post])
    assert scores.mner.correct == 1
    assert np.isnan([scores.gmner.f1, scores.eeg.f1]).all()
    assert (scores.found_of_shown, scores.bias.n_f1, scores.bias.grounded_absent, scores.by_region) == (None,) * 3 + (
        {},
    )
    assert {fault for fault, count in scores.errors.items() if count} == {Fault.WRONG_TYPE, Fault.MISSED}
    record = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert (record["gmner"]["f1"], record["intervals"].keys(), record["by_type"]["PER"].keys()) == (
        None,
        {"mner"},
        {"mner"},
    )
    assert "GMNER" not in scores.summary()


def test_posts_with_and_without_regions_cannot_be_mixed():
    with pytest.raises(InputError, match=r"Only some.*got '2'"):
        evaluate([], [POST, replace(POST, id="2", grounded=False)])


def test_metric_of_a_post_without_regions_is_mner():
    post = replace(POST, grounded=False)
    found = dspy.Prediction(entities=[predicted_entity(ADA, WHOLE), predicted_entity(AL), predicted_entity(OSLO)])
    assert gmner_metric(to_example(post), found) == 1.0
    assert gmner_metric(to_example(post), found, pred_name="answer").feedback == "3 of 3 entities are fully right."
    wrong = dspy.Prediction(entities=[predicted_entity(ADA), GroundedEntity("in Oslo", 11, 18, "LOC")])
    assert gmner_metric(to_example(post), wrong, pred_name="answer").feedback.splitlines() == [
        "1 of 3 entities are fully right.",
        "Missed: 'Al' is a named entity of type PER.",
        "Wrong span: 'in Oslo' should be 'Oslo' (LOC).",
    ]
    assert (
        gmner_metric(
            to_example(POST),
            dspy.Prediction(entities=[predicted_entity(ADA, AWAY), predicted_entity(AL), predicted_entity(OSLO)]),
        )
        < 1.0
    )


def test_metric_of_an_expression_counts_all_of_its_boxes():
    text, (near, far) = "both dogs", (Box(0, 0, 10, 10), Box(30, 0, 40, 10))
    post = Post("1", text, None, (GoldEntity(text, 0, len(text), EXPRESSION, (near, far)),))

    def told(*boxes: Box) -> dspy.Prediction:
        found = [expression_entity(text, boxes)]
        return gmner_metric(to_example(post), dspy.Prediction(entities=found), pred_name="predict")

    assert told(far, near).score == 1.0
    assert told().score == 0.0
    assert told(near).score == pytest.approx(2 / 3)
    assert told(near).feedback.startswith("1 box for 2 targets.")
    half = told(near, Box(50, 50, 60, 60))
    assert half.score == 0.5
    assert half.feedback.splitlines() == [
        "2 boxes for 2 targets.",
        "Missed: the expression also means what is at [30, 0, 40, 10].",
        "Invented: the expression does not mean what is at [50, 50, 60, 60].",
    ]
    absent = to_example(replace(post, entities=(GoldEntity(text, 0, len(text), EXPRESSION, ()),)))
    assert gmner_metric(absent, dspy.Prediction(entities=[])) == 1.0
