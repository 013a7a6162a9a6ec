"""Label sets: the forms that are accepted, and what is refused where it is given."""

from typing import Any

import pytest

from gmner.data.post import Post
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet, as_labels


@pytest.mark.parametrize("given", [["A", "B"], ("A", "B"), {"A": "", "B": ""}, [("A", ""), ["B", ""]]])
def test_a_label_set_from_every_accepted_form(given: Any):
    expected = LabelSet((("A", ""), ("B", "")))
    assert LabelSet(given) == as_labels(given) == expected
    assert GMNER(labels=given).labels == StagedGMNER(labels=given).labels == expected


def test_descriptions_of_a_mapping_are_kept():
    assert as_labels(dict(COARSE.types)) == COARSE
    assert as_labels(COARSE) is COARSE


@pytest.mark.parametrize("given", ["PER", b"PER", None, 5, [], [5], ["A", "A"], [" "], {"A": None}, [("A", "b", "c")]])
@pytest.mark.parametrize("take", [LabelSet, as_labels, lambda labels: GMNER(labels=labels)])
def test_other_forms_are_refused_with_the_accepted_one(given: Any, take: Any):
    with pytest.raises(InputError, match="list of names"):
        take(given)


@pytest.mark.parametrize("text", [5, b"Mira", None, ["Mira"]])
def test_a_text_that_is_no_string_is_refused_where_it_is_given(text: Any):
    with pytest.raises(InputError, match="must be a string"):
        Post("p", text)
    with pytest.raises(InputError, match="a string"):
        GMNER()(text=text)


@pytest.mark.parametrize("given", [["\ud800"], {"A": "\udfff"}])
def test_half_of_a_character_is_no_part_of_a_label_set(given: Any):
    with pytest.raises(InputError, match="surrogate"):
        LabelSet(given)


@pytest.mark.parametrize("given", [5, None, b"p"])
def test_an_id_that_is_no_string_is_refused_where_it_is_given(given: Any):
    with pytest.raises(InputError, match="id of a post must be a string"):
        Post(given, "Mira")
