"""The walk over a corpus: order, filters, progress."""

from pathlib import Path

import pytest

from gmner.app.corrections import CorrectionsFile
from gmner.app.review import Review, ReviewFilter
from gmner.app.views import left_out
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.labels import LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity

POSTS = [Post(id, "Ada met Bo") for id in "abcdef"]


def answer(id: str, *sure: float | None) -> Prediction:
    spans = (("Ada", 0, 3), ("Bo", 8, 10))
    entities = tuple(GroundedEntity(*span, "PER", confidence=value) for span, value in zip(spans, sure, strict=False))
    return Prediction(id, "Ada met Bo", "", entities)


ANSWERS = {
    "a": answer("a", 0.9, 0.8),
    "b": answer("b", 0.3),
    "c": answer("c"),
    "d": answer("d", 0.95, 0.1),
    "e": Prediction.failed("e", "Ada met Bo", ImageError("broken")),
}  # f has none


@pytest.fixture
def review(tmp_path: Path) -> Review:
    return Review(POSTS, ANSWERS, CorrectionsFile(tmp_path / "c.jsonl"))


def done(review: Review, *ids: str) -> None:
    for id in ids:
        review.corrections.save(Post(id, "Ada met Bo", entities=()))


def test_orders(review: Review):
    assert review.ids(ReviewFilter()) == list("abcdef")
    assert review.ids(ReviewFilter(least_sure=True)) == list("efdbac")


def test_filters(review: Review):
    done(review, "a", "d")
    assert review.ids(ReviewFilter("to do")) == list("bcef")
    assert review.ids(ReviewFilter("done")) == list("ad")
    assert review.ids(ReviewFilter(below=0.3)) == list("bdef")
    assert review.ids(ReviewFilter("to do", least_sure=True, below=0.3)) == list("efb")
    assert review.counts() == (2, 6)


def test_first_is_the_first_to_do(review: Review):
    done(review, "a", "b")
    assert review.first(ReviewFilter()) == "c"
    assert review.first(ReviewFilter("done")) == "a"
    done(review, *"cdef")
    assert review.first(ReviewFilter()) == "a"
    assert review.first(ReviewFilter("to do")) is None


def test_steps_go_on_after_a_post_left_the_list(review: Review):
    only = ReviewFilter("to do", least_sure=True)  # e f d b a c
    done(review, "d", "b")
    assert review.step("d", 1, only) == "a"
    assert review.step("d", -1, only) == "f"
    assert review.step("c", 1, only) is None
    assert review.step("e", -1, only) is None


def test_drafts_begin_with_correction_answer_or_gold(tmp_path: Path):
    gold = (GoldEntity("Bo", 8, 10, "PER"),)
    posts = [Post(id, "Ada met Bo", entities=gold) for id in "abc"]
    review = Review(posts, {"a": answer("a", 0.5), "b": answer("b", 0.5)}, CorrectionsFile(tmp_path / "c.jsonl"))
    done(review, "a")
    assert [[draft.entity.span for draft in review.drafts(id)] for id in "abc"] == [[], ["Ada"], ["Bo"]]
    assert review.drafts("b")[0].confidence == 0.5


def test_entities_that_nobody_could_mark_are_counted(tmp_path: Path):
    ada, eve = GroundedEntity("Ada", 0, 3, "PER"), GroundedEntity("Eve", -1, -1, "PER")
    prediction = Prediction("a", "Ada met Bo", "", (ada, ada, eve))
    review = Review(POSTS, {"a": prediction}, CorrectionsFile(tmp_path / "c.jsonl"))
    assert (len(review.drafts("a")), review.left_out("a"), review.left_out("b")) == (1, 2, 0)
    assert "2 entities are left out of the editor" in left_out(2)
    assert left_out(0) == ""


def test_without_confidences_there_is_no_order_by_them(tmp_path: Path):
    review = Review(POSTS, {"a": answer("a", None)}, CorrectionsFile(tmp_path / "c.jsonl"))
    assert not review.has_confidence
    assert review.ids(ReviewFilter()) == list("abcdef")
    for only in (ReviewFilter(least_sure=True), ReviewFilter(below=0.5)):
        with pytest.raises(InputError, match="no confidence"):
            review.ids(only)


def test_confidence_of_a_post(review: Review):
    assert [review.confidence(id) for id in "abcdef"] == [0.8, 0.3, None, 0.1, None, None]


def test_types_are_the_given_and_all_that_occur(tmp_path: Path):
    posts = [Post("a", "Ada", entities=(GoldEntity("Ada", 0, 3, "SINGER"),))]
    answers = {"a": Prediction("a", "Ada", "", (GroundedEntity("Ada", 0, 3, "QUEEN"),))}
    review = Review(posts, answers, CorrectionsFile(tmp_path / "c.jsonl"), LabelSet(("PER",)))
    assert review.labels.names == ("PER", "SINGER", "QUEEN")


def test_refusals(tmp_path: Path):
    file = CorrectionsFile(tmp_path / "c.jsonl")
    with pytest.raises(InputError, match="no posts"):
        Review([], {}, file)
    with pytest.raises(InputError, match=r"occurs twice \(got 'b'\)"):
        Review([*POSTS, POSTS[1]], {}, file)


def test_offsets_of_another_text_are_refused(tmp_path: Path):
    file = CorrectionsFile(tmp_path / "c.jsonl")
    with pytest.raises(InputError, match="prediction for post 'a' has another text"):
        Review([Post("a", "Now Ada met Bo")], ANSWERS, file)
    file.save(Post("a", "Ada met Bo", entities=(GoldEntity("Bo", 8, 10, "PER"),)))
    for other in (Post("a", "Now Ada met Bo"), Post("a", "Ada met Bo", tmp_path / "x.png")):
        with pytest.raises(InputError, match=r"correction of post 'a' has another text.*--corrections"):
            Review([other], {}, file)
    assert Review([Post("b", "Bo"), *POSTS[:1]], {}, file).counts() == (1, 2)


def test_a_failed_prediction_does_not_delete_the_annotation(tmp_path: Path):
    gold = GoldEntity("Bo", 8, 10, "PER")
    review = Review([Post("e", "Ada met Bo", entities=(gold,))], ANSWERS, CorrectionsFile(tmp_path / "c.jsonl"))
    assert [draft.entity for draft in review.drafts("e")] == [gold]


def test_types_of_earlier_corrections_can_be_saved_again(tmp_path: Path):
    file = CorrectionsFile(tmp_path / "c.jsonl")
    file.save(Post("a", "Ada met Bo", entities=(GoldEntity("Bo", 8, 10, "DOG"),)))
    assert "DOG" in Review(POSTS, {}, file).labels
