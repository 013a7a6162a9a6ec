"""Spans in any script under the grammar of the engine: enumerated, and as parts of a long text."""

import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import MIXED, SAMPLES

from gmner.programs.engine.grammar import GrammarCompiler, RowMasks
from gmner.programs.engine.span_grammar import has_spans, span_grammar
from gmner.signatures import schema as schemas
from gmner.signatures.alignment import Alignment, occurrences, pieces
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.labels import COARSE
from gmner.signatures.schema import (
    SPANS_OF,
    Limits,
    answer_schema,
    candidate_spans,
    longest_answer,
    mentions_schema,
    served_schema,
)
from gmner.signatures.wire import Frame, dump, parse_answer

LIMITS = Limits(reasoning=4, entities=2)
ENGLISH = " ".join(f'The "Team{n}" of O\'Neil\\{n} met Ana{n % 90}.' for n in range(250))
HAN = "".join(chr(0x4E00 + (n * n) % 2999) for n in range(4000))
THAI = "ประยุทธ์จันทร์โอชา" * 250


@pytest.fixture(scope="module")
def compiler(tiny_lm):
    engine = tiny_lm("idefics3").engine
    return GrammarCompiler(engine.model, engine.processor.tokenizer, "llguidance"), engine.processor.tokenizer


@pytest.fixture
def nothing_enumerated(monkeypatch):
    monkeypatch.setattr(schemas, "_MOST_CHARACTERS", 0)


def answer_with(*spans):
    return dump(
        {"reasoning": "", "entities": [{"span": s, "type": "PER", "visible": False, "box": None} for s in spans]}
    )


def allowed(compiler, schema, answer):
    """Whether the masks of a grammar allow an answer, token by token, and then its end."""
    grammars, tokenizer = compiler
    masks, ids = RowMasks([grammars.compile(schema)]), [0]
    for token in [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]:
        if masks(torch.tensor([ids]), torch.zeros(1, len(tokenizer)))[0, token] < 0:
            return False
        ids.append(token)
    return True


def schema_of(text, size=None):
    return answer_schema(text, COARSE, BoxFormat(), size, limits=LIMITS)


def round_trip(compiler, text, span):
    answer = answer_with(span)
    assert allowed(compiler, schema_of(text), answer)
    (entity,) = parse_answer(answer, text, COARSE, Frame(BoxFormat())).entities
    assert entity.alignment is Alignment.EXACT
    assert (entity.span, text[entity.start : entity.end]) == (span, span)


def span_drawn(data, text):
    bounds = pieces(text)
    first = data.draw(st.integers(0, len(bounds) - 1))
    last = data.draw(st.integers(first, min(first + 3, len(bounds) - 1)))
    return text[bounds[first][0] : bounds[last][1]]


@settings(max_examples=25)
@given(MIXED.filter(pieces), st.data())
def test_every_span_passes_the_grammar_and_is_aligned(compiler, text, data):
    round_trip(compiler, text, span_drawn(data, text))


@settings(max_examples=25)
@given(text=MIXED.filter(pieces), data=st.data())
def test_every_span_passes_the_grammar_of_a_long_text(compiler, text, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schemas, "_MOST_CHARACTERS", 0)
        round_trip(compiler, text, span_drawn(data, text))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_names_of_the_samples_pass_the_grammar(compiler, sample):
    round_trip(compiler, sample.text, sample.entities[-1].span)


@pytest.mark.parametrize(
    ("text", "no_span"),
    [
        ("Ada met Al", "Ad"),
        ("Ada met Al", ""),
        ("Ada met Al", " met"),
        ("Ada met Al", "met "),
        ("Ada\nmet\tAl", "\nmet"),
        ("Ada\u200bAl", "\u200bAl"),
        ("Ada\x1cAl", "Ada\x1c"),
        ("Ada met Al", "Al Ada"),
        ("क्षत्रिय", "क्ष्"),
        ("e\u0301a", "e"),
        ("👩‍👧 x", "👩"),
        ("a\\n b", "\n"),
    ],
)
@pytest.mark.usefixtures("nothing_enumerated")
def test_other_strings_are_forbidden_in_a_long_text(compiler, text, no_span):
    assert has_spans(schema_of(text))
    assert not allowed(compiler, schema_of(text), answer_with(no_span))


@pytest.mark.usefixtures("nothing_enumerated")
def test_length_of_a_span_is_limited_in_a_long_text(compiler):
    text = "word " * 20
    longest = max(candidate_spans(text), key=len)
    assert allowed(compiler, schema_of(text), answer_with(longest))
    assert not allowed(compiler, schema_of(text), answer_with(f"{longest} word"))


@pytest.mark.usefixtures("nothing_enumerated")
@pytest.mark.parametrize("most", [1, 2, 3])
def test_number_of_entities_is_limited_in_a_long_text(compiler, most):
    schema = answer_schema("Ada met Al now", COARSE, BoxFormat(), (9, 9), limits=Limits(4, most))
    assert allowed(compiler, schema, answer_with())
    assert allowed(compiler, schema, answer_with(*["Al"] * most))
    assert not allowed(compiler, schema, answer_with(*["Al"] * (most + 1)))
    boxed = [{"span": "Al", "type": "PER", "visible": True, "box": [1, 2, 3, 4]}]
    assert allowed(compiler, schema, dump({"reasoning": "", "entities": boxed}))
    assert not allowed(compiler, schema, dump({"reasoning": "", "entities": [{**boxed[0], "visible": False}]}))
    schema["properties"]["entities"]["minItems"] = 1
    assert not allowed(compiler, schema, answer_with())
    assert allowed(compiler, schema, answer_with("Al"))


@pytest.mark.parametrize("text", [ENGLISH, HAN, THAI], ids=["english", "han", "thai"])
def test_grammar_of_a_long_post_grows_with_its_text(compiler, text):
    schema = schema_of(text, (64, 64))
    assert len(dump(schema)) < 3 * len(text) + 4000
    grammars = [len(span_grammar(schema_of(part, (64, 64)), {})) for part in (text[: len(text) // 2], text)]
    assert grammars[1] < 2.2 * grammars[0]
    names = [span for span in random.Random(0).sample(candidate_spans(text), 3) if occurrences(span, text)]
    assert allowed(compiler, schema, answer_with(names[0], names[1]))
    assert all(len(json.dumps(answer_with(name, name))) <= longest_answer(schema) for name in names)


@pytest.mark.usefixtures("nothing_enumerated")
def test_longest_answer_of_a_long_text_is_close_to_the_longest_span():
    text = "Ada 👩‍👧 \\ met é"
    enumerated, span = max(len(json.dumps(span)) for span in candidate_spans(text)), {"type": "string"}
    span = mentions_schema(text, COARSE)["properties"]["mentions"]["items"]["properties"]["span"]
    assert longest_answer(span) == enumerated


def test_servers_get_no_enumeration_of_a_long_text(caplog):
    served = served_schema(schema_of(ENGLISH, (64, 64)))
    assert SPANS_OF not in dump(served)
    assert len(dump(served)) < 4000
    spans = [option["properties"]["span"] for option in served["properties"]["entities"]["items"]["anyOf"]]
    assert spans == [{"type": "string", "maxLength": max(map(len, candidate_spans(ENGLISH)))}] * 2
    assert caplog.text.count("too many spans for the grammar of a server") == 1
    caplog.clear()
    assert (
        "enum"
        in served_schema(mentions_schema("Ada met Al", COARSE))["properties"]["mentions"]["items"]["properties"]["span"]
    )
    assert not caplog.text
