"""The schema of an answer, and the bound on its length."""

import json

import jsonschema
import pytest
from engine_requests import admits
from hypothesis import given
from hypothesis import strategies as st
from strategies import SIZE, WORDS

from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.schema import (
    Limits,
    answer_schema,
    box_schema,
    candidate_spans,
    expression_schema,
    grounding_schema,
    longest_answer,
    mentions_schema,
    names_schema,
    served_schema,
    verification_schema,
)
from gmner.signatures.wire import dump

FORMATS = st.sampled_from((BoxFormat(), BoxFormat("normalized", 7), BoxFormat("original")))
TEXTS = st.text(min_size=1, max_size=20) | st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
FREE = st.characters(exclude_characters="\\\x7f", exclude_categories=("Cs",), min_codepoint=32)
LABELS = st.sampled_from((COARSE, LabelSet.of({"größe": "", 'a"b': ""})))


def any_valid(schema):
    """A strategy of values that a schema of this library admits."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    if "anyOf" in schema:
        return st.one_of(*map(any_valid, schema["anyOf"]))
    if schema["type"] == "object":
        return st.fixed_dictionaries({name: any_valid(part) for name, part in schema["properties"].items()})
    if "prefixItems" in schema:
        return st.tuples(*map(any_valid, schema["prefixItems"])).map(list)
    if schema["type"] == "array":
        return st.lists(any_valid(schema["items"]) if "items" in schema else st.nothing(), max_size=schema["maxItems"])
    if schema["type"] == "string":
        limit = int(schema["pattern"].rsplit(",", 1)[1].rstrip("}$"))
        return st.text(FREE, max_size=limit) | st.just("🎉" * limit)
    return {"boolean": st.booleans(), "null": st.none()}.get(
        schema["type"], st.sampled_from((schema.get("minimum"), schema.get("maximum")))
    )


@given(st.data(), TEXTS, LABELS, FORMATS, st.none() | st.just(SIZE), st.integers(0, 20))
def test_no_valid_answer_is_longer_than_the_bound(data, text, labels, box_format, size, reasoning):
    limits = Limits(reasoning, 3)
    schemas = (
        answer_schema(text, labels, box_format, size, limits=limits),
        mentions_schema(text, labels, limits),
        names_schema(text, labels, limits),
        expression_schema(box_format, size, limits=limits),
        verification_schema(limits),
        grounding_schema(box_format, size),
    )
    schema = data.draw(st.sampled_from(schemas))
    value = data.draw(any_valid(schema))
    jsonschema.validate(value, schema)
    assert len(dump(value).encode()) <= longest_answer(schema)


def test_bound_is_close_to_the_longest_answer():
    longest = dump({"evidence": "🎉" * 5, "visible": False}).encode()
    assert longest_answer(verification_schema(Limits(reasoning=5))) == len(longest) + 1  # a comma after the last part


@given(TEXTS, LABELS, FORMATS, st.none() | st.just(SIZE), st.integers(0, 2000))
def test_served_schema_differs_only_in_long_repetitions(text, labels, box_format, size, reasoning):
    schema = answer_schema(text, labels, box_format, size, limits=Limits(reasoning))
    served = served_schema(schema)
    assert served["properties"]["reasoning"] == {"type": "string", "maxLength": reasoning}
    assert "pattern" not in str(served) or "pattern" in text
    assert {**served, "properties": {**served["properties"], "reasoning": None}} == {
        **schema, "properties": {**schema["properties"], "reasoning": None}
    }  # fmt: skip
    assert served_schema(mentions_schema(text, labels)) == mentions_schema(text, labels)
    escaped = len(json.dumps("🎉" * reasoning))
    assert longest_answer(served) - longest_answer(answer_schema(text, labels, box_format, size, limits=Limits(0))) == (
        escaped - 2
    )


@pytest.mark.parametrize(
    ("reasoning", "admitted"),
    [
        ('the word "Ada" is', True),
        ('"' * 20, True),
        ('"' * 21, False),
        ("é🎉'", True),
        ("a\nb", False),
        ("a\\b", False),
    ],
)
def test_reasoning_may_quote_words(reasoning, admitted):
    schema = verification_schema(Limits(reasoning=20))
    answer = dump({"evidence": reasoning, "visible": True})
    assert admits(schema, answer) is admitted
    assert len(answer.encode()) <= longest_answer(schema)


ANSWER = {"reasoning": "r", "entities": [{"span": "Ada", "type": "PER", "visible": True, "box": [0, 0, 5, 5]}]}


def changed(**fields):
    return {"reasoning": "r", "entities": [{**ANSWER["entities"][0], **fields}]}


@pytest.mark.parametrize(
    "answer",
    [
        changed(span="Bob"),
        changed(span="Ad"),
        changed(type="THING"),
        changed(visible=False),
        changed(box=None),
        changed(box=[0, 0, 5]),
        changed(box=[0, 0, 1001, 5]),
        changed(box=[0.5, 0, 5, 5]),
        changed(more=1),
        {"reasoning": "back\\slash", "entities": []},
        {"reasoning": "x" * 11, "entities": []},
        {"reasoning": "line\nbreak", "entities": []},
        {"reasoning": "r", "entities": ANSWER["entities"] * 3},
        {"entities": []},
    ],
)
def test_schema_refuses_invalid_answers(answer):
    schema = answer_schema("Ada met Al", COARSE, BoxFormat(), SIZE, limits=Limits(10, 2))
    jsonschema.validate(ANSWER, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer, schema)


def test_without_an_image_nothing_is_visible():
    schema = answer_schema("Ada met Al", COARSE, BoxFormat(), None)
    jsonschema.validate(changed(visible=False, box=None), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ANSWER, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"box": [0, 0, 1, 1]}, grounding_schema(BoxFormat(), None))


def test_text_without_words_has_no_entity():
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"mentions": [{"span": "", "type": "PER"}]}, mentions_schema("  ", COARSE))


def test_candidate_spans_are_distinct_runs_of_pieces():
    assert candidate_spans("Ada, Ada", 2) == ["Ada", "Ada,", ",", ", Ada"]
    assert candidate_spans("", 2) == []


def test_schema_has_the_coordinate_range_of_the_convention():
    maxima = [axis["maximum"] for axis in box_schema(BoxFormat("resized"), SIZE, (56, 28))["prefixItems"]]
    assert maxima == [56, 28, 56, 28]


@pytest.mark.parametrize("limits", [{"reasoning": -1}, {"entities": 0}])
def test_limits_without_any_answer_are_refused(limits):
    with pytest.raises(InputError, match="Limits need"):
        Limits(**limits)


@pytest.mark.parametrize("types", [{}, {"": "x"}])
def test_unusable_label_set_is_refused(types):
    with pytest.raises(InputError, match="label set"):
        LabelSet.of(types)


def test_iterating_a_label_set_gives_its_names():
    labels = LabelSet.of({"PER": "person", "X": ""})
    assert list(labels) == ["PER", "X"]
    assert "PER" in labels
    assert "LOC" not in labels
    assert labels.describe() == "PER (person), X"
    with pytest.raises(InputError):
        LabelSet((("PER", ""), ("PER", "")))
