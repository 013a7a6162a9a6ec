"""The differences of two answers, as remarks on the entities of both, and on the page."""

import pytest
from pages import EVIL, Page, drawn

from gmner.data.pages.answers_page import render_html
from gmner.data.pages.cards import build_card
from gmner.data.pages.differences import differences
from gmner.data.pages.notebook import answers_html
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.boxes import Box
from gmner.signatures.errors import ImageError
from gmner.signatures.mentions import GoldEntity, GroundedEntity

TEXT = "Ada met Bo in New York City"
OTHER = "in the other answer"


def said(first: list[GroundedEntity], second: list[GroundedEntity]) -> tuple[list[tuple[str, str]], ...]:
    """The span and the words of each remark of both answers; `-` before what an answer lacks."""
    answers = (Prediction("p", TEXT, "", tuple(entities)) for entities in (first, second))
    return tuple(
        [(f"{'-' if remark.absent else ''}{remark.entity.span}", "; ".join(remark.words)) for remark in remarks]
        for remarks in differences(*answers)
    )


def ada(type_: str = "PER", *boxes: Box) -> GroundedEntity:
    first, *more = boxes or (None,)
    return GroundedEntity("Ada", 0, 3, type_, first, more_boxes=tuple(box for box in more if box))


BO = GroundedEntity("Bo", 8, 10, "PER")
HERE, BELOW = Box(0, 0, 10, 10), Box(0, 20, 10, 30)


def test_equal_answers_have_no_remarks():
    assert said([ada("PER", HERE), BO], [BO, ada("PER", Box(0, 0, 10, 10.1))]) == ([], [])
    assert said([ada("PER", HERE, BELOW)], [ada("PER", BELOW, HERE)]) == ([], [])
    assert said([], []) == ([], [])


def test_entities_of_one_answer_are_remarks_of_both():
    assert said([BO], [ada("PER", HERE)]) == (
        [("-Ada", f"only {OTHER}"), ("Bo", "only in this answer")],
        [("Ada", "only in this answer"), ("-Bo", f"only {OTHER}")],
    )


def test_types_and_regions():
    assert said([ada("PER", HERE)], [ada("ORG")]) == (
        [("Ada", f"type: ORG {OTHER}; not shown {OTHER}")],
        [("Ada", f"type: PER {OTHER}; boxed {OTHER}")],
    )


@pytest.mark.parametrize(
    ("boxes", "others", "words"),
    [
        ([HERE], [Box(0, 0, 10, 5)], "box: IoU 0.50 with the other answer"),
        ([HERE], [BELOW], f"box: elsewhere {OTHER}"),
        ([HERE], [Box(0, 0, 10, 10, picture=2)], f"boxed in image 2 {OTHER}"),
        ([HERE], [HERE, BELOW], f"2 boxes {OTHER}"),
        ([HERE, BELOW], [HERE, Box(0, 20, 10, 25)], "boxes: IoU 0.50 with the other answer"),
        ([HERE, BELOW], [HERE, HERE], f"boxes: elsewhere {OTHER}"),
        ([HERE, HERE], [HERE, BELOW], f"boxes: elsewhere {OTHER}"),
    ],
)
def test_boxes(boxes: list[Box], others: list[Box], words: str):
    assert said([ada("PER", *boxes)], [ada("PER", *others)])[0] == [("Ada", words)]


def test_overlapping_spans_are_one_difference():
    short, long = GroundedEntity("New York", 14, 22, "LOC"), GroundedEntity("New York City", 14, 27, "LOC")
    found = said([short], [long])
    assert found == (
        [("New York", f"words: “New York City” {OTHER}")],
        [("New York City", f"words: “New York” {OTHER}")],
    )


def test_equal_places_come_before_overlaps():
    short, long = GroundedEntity("New York", 14, 22, "LOC"), GroundedEntity("New York City", 14, 27, "LOC")
    assert said([long, short], [short])[0] == [("New York City", "only in this answer")]


def test_spans_outside_of_the_text_are_matched_by_their_words():
    eve, eva = (GroundedEntity(span, -1, -1, "PER") for span in ("Eve", "Eva"))
    assert said([eve], [eve]) == ([], [])
    assert said([eve, eva], [eve])[0] == [("Eva", "only in this answer")]
    assert [span for span, _ in said([eve], [eva])[1]] == ["Eva", "-Eve"]


def test_answers_with_other_words_outside_of_the_text_differ():
    one, two = (Prediction("p", TEXT, "", (GroundedEntity(word, -1, -1, "PER"),)) for word in ("Eve", "Eva"))
    assert build_card(Post("p", TEXT), {"a": one, "b": two}, ["a", "b"]).differ
    assert not build_card(Post("p", TEXT), {"a": one, "b": one}, ["a", "b"]).differ


def pair(image: object = None) -> tuple[Post, dict[str, Prediction]]:
    """A post with two answers: the type of Ada and her box differ, and only the second one has Bo."""
    one, two = Prediction("p", TEXT, "", (ada(EVIL, HERE),)), Prediction("p", TEXT, "", (ada("PER", BELOW), BO))
    return Post("p", TEXT, image), {"a": one, "b": two}  # type: ignore[arg-type]


def test_both_answers_are_marked_on_rows_and_boxes():
    for html in (answers_html(*pair(drawn())), render_html([pair(drawn())], title="t")):
        page = Page(html)
        assert page.count("em", **{"class": "differs"}) == 6
        assert page.count("g", **{"class": "differs"}) == 2
        assert page.text.count("Δ Ada") == 4  # tooltips and names
        assert page.text.count("Δ only in the other answer") == page.text.count("Δ only in this answer") == 1
        assert page.count("li", **{"class": "missed"}) == 1
        assert f"Δ type: {EVIL} in the other answer" in page.text
        assert page.count("script", onload="x") == page.count("svg", onload="x") == 0


def test_absent_entities_stand_in_text_order():
    rome = GroundedEntity("New York City", 14, 27, "LOC")
    page = answers_html(Post("p", TEXT), {"a": Prediction("p", TEXT, "", (ada(), rome)), "b": pair()[1]["b"]})
    rows = page[page.index("<section") : page.index("<section", page.index("<section") + 1)]
    assert rows.index(">Ada</button>") < rows.index(">Bo</button>") < rows.index(">New York City</button>")


def test_nothing_is_marked_beside_gold_or_a_failed_answer():
    post, answers = pair()
    gold = Post("p", TEXT, entities=(GoldEntity("Ada", 0, 3, "PER"),))
    failed = {**answers, "b": Prediction.failed("p", TEXT, ImageError("Broken"))}
    for html in (answers_html(gold, answers), answers_html(post, failed), answers_html(post, {**answers, "c": BOTH})):
        assert Page(html).count("em", **{"class": "differs"}) == 0


BOTH = Prediction("p", TEXT)
