"""Label sets: accepted forms and errors."""

from typing import Any

import pytest

from gmner.data.post import Post
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet, as_labels


@pytest.mark.parametrize("given", [["A", "B"], ("A", "B"), {"A": "", "B": ""}, [("A", ""), ["B", ""]]])
def test_label_set_from_every_accepted_form(given: Any):
    expected = LabelSet((("A", ""), ("B", "")))
    assert LabelSet(given) == as_labels(given) == expected
    assert GMNER(labels=given).labels == StagedGMNER(labels=given).labels == expected


def test_descriptions_of_a_mapping_are_kept():
    assert as_labels(dict(COARSE.types)) == COARSE
    assert as_labels(COARSE) is COARSE


@pytest.mark.parametrize("given", ["PER", b"PER", None, 5, [], [5], ["A", "A"], [" "], {"A": None}, [("A", "b", "c")]])
@pytest.mark.parametrize("take", [LabelSet, as_labels, lambda labels: GMNER(labels=labels)])
def test_other_forms_are_refused(given: Any, take: Any):
    with pytest.raises(InputError, match="list of names"):
        take(given)


@pytest.mark.parametrize("text", [5, b"Mira", None, ["Mira"]])
def test_text_must_be_a_string(text: Any):
    with pytest.raises(InputError, match="must be a string"):
        Post("p", text)
    with pytest.raises(InputError, match="must be a non-empty string"):
        GMNER()(text=text)


@pytest.mark.parametrize("given", [["\ud800"], {"A": "\udfff"}])
def test_labels_with_a_lone_surrogate_are_refused(given: Any):
    with pytest.raises(InputError, match="surrogate"):
        LabelSet(given)


@pytest.mark.parametrize("given", [5, None, b"p"])
def test_id_must_be_a_string(given: Any):
    with pytest.raises(InputError, match="id of a post must be a string"):
        Post(given, "Mira")
