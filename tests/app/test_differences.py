"""The differences of two answers in words."""

from gmner.app.differences import differences
from gmner.data.prediction import Prediction
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GroundedEntity

TEXT = "Ada met Bo in New York City"
NAMES = ("before", "after")


def said(first: list[GroundedEntity], second: list[GroundedEntity]) -> list[tuple[str, str, str]]:
    answers = (Prediction("p", TEXT, "", tuple(entities)) for entities in (first, second))
    return [(item.kind, item.span, item.text) for item in differences(*answers, NAMES)]


def ada(type_: str = "PER", box: Box | None = None) -> GroundedEntity:
    return GroundedEntity("Ada", 0, 3, type_, box)


BO = GroundedEntity("Bo", 8, 10, "PER")


def test_equal_answers_have_none():
    assert said([ada(box=Box(0, 0, 10, 10)), BO], [BO, ada(box=Box(0, 0, 10, 10.1))]) == []
    assert said([], []) == []


def test_entities_of_one_answer():
    found = said([BO], [ada(box=Box(0, 0, 1, 1))])
    assert found == [
        ("entity", "Ada", "only in after, as PER, boxed"),
        ("entity", "Bo", "only in before, as PER, not shown"),
    ]


def test_types_and_visibility():
    found = said([ada("PER", Box(0, 0, 1, 1))], [ada("ORG")])
    assert found == [("type", "Ada", "PER in before, ORG in after"),
                     ("visibility", "Ada", "boxed in before, not shown in after")]  # fmt: skip
    assert said([ada()], [ada(box=Box(0, 0, 1, 1))])[0][2] == "boxed in after, not shown in before"


def test_boxes():
    assert said([ada(box=Box(0, 0, 10, 10))], [ada(box=Box(0, 0, 10, 5))])[0][2] == "the boxes have an IoU of 0.50"
    assert said([ada(box=Box(0, 0, 1, 1))], [ada(box=Box(5, 5, 6, 6))])[0][2] == "the boxes do not overlap"
    other = said([ada(box=Box(0, 0, 1, 1))], [ada(box=Box(0, 0, 1, 1, picture=2))])
    assert other[0][2] == "in image 1 in before, in image 2 in after"


def test_overlapping_spans_are_one_difference():
    short, long = GroundedEntity("New York", 14, 22, "LOC"), GroundedEntity("New York City", 14, 27, "LOC")
    assert said([short], [long]) == [("span", "New York", "“New York” in before, “New York City” in after")]


def test_equal_places_come_before_overlaps():
    short, long = GroundedEntity("New York", 14, 22, "LOC"), GroundedEntity("New York City", 14, 27, "LOC")
    assert said([long, short], [short]) == [("entity", "New York City", "only in before, as LOC, not shown")]


def test_spans_outside_of_the_text_are_matched_by_their_words():
    eve, eva = (GroundedEntity(span, -1, -1, "PER") for span in ("Eve", "Eva"))
    assert said([eve], [eve]) == []
    assert [item[1] for item in said([eve], [eva])] == ["Eve", "Eva"]
