"""The JSON schema of an answer, built for each request; constrained decoding with it makes every span verbatim."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

from gmner.signatures.boxes import BoxFormat, Size
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet
from gmner.signatures.segmentation import MAX_SPAN_WORDS, reaches, segment

_LOG = logging.getLogger(__name__)

MAX_REASONING = 900

SPANS_OF = "x-spans-of"
"""Keyword of a schema: the string is a span of this text. It replaces an enumeration that would be too large."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an answer. They bound its length in tokens, see `longest_answer`.

    Args:
        reasoning: Largest number of characters of free text; at least 0.
        entities: Largest number of entities; at least 1.

    Raises:
        InputError: A limit is too small.
    """

    reasoning: int = MAX_REASONING
    entities: int = 16

    def __post_init__(self) -> None:
        """Check that an answer is possible within the limits."""
        if self.reasoning < 0 or self.entities < 1:
            raise InputError(
                "Limits need reasoning of at least 0 and entities of at least 1",
                received=(self.reasoning, self.entities),
            )


Schema = dict[str, Any]

Pictures = Sequence[tuple[Size, Size | None]]
"""Width and height of each image in pixels, and after the processor's resize (None: not needed)."""

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
_SERVED_DECIMALS = 17
_FREE_TEXT = r"[^\\\x00-\x1f\x7f]"
# None of these characters takes more than 4 bytes in JSON: only the quotation mark is escaped.


_MOST_CHARACTERS = 150_000
# Largest total number of characters of the spans that a schema enumerates (about 220 English words, 370 Han characters
# or 130 Thai clusters). Up to there, llguidance takes at most 50 ms, and xgrammar seconds. For 1.4 million characters
# (an English post of 2,000 words), llguidance takes 1.4 s, and xgrammar minutes.


def candidate_spans(text: str, max_words: int = MAX_SPAN_WORDS) -> list[str]:
    """All strings that can be spans of a text, in order, without duplicates.

    Args:
        text: The text of the post.
        max_words: Largest length of a span in words, see `gmner.signatures.segmentation.reaches`.
    """
    return list(dict.fromkeys(_candidates(text, max_words)))


def _candidates(text: str, max_words: int = MAX_SPAN_WORDS) -> Iterator[str]:
    pieces = segment(text)
    for first, last in enumerate(reaches(pieces, max_words)):
        start = pieces[first].start
        for piece in pieces[first:last]:
            yield text[start : piece.end]


def _span_schema(text: str) -> Schema:
    """Schema of a span: an enumeration, or for a long text `SPANS_OF` and the length of its longest span."""
    spans: dict[str, None] = {}
    rest = _MOST_CHARACTERS
    for span in _candidates(text):
        rest -= len(span)
        if rest < 0:
            return {"type": "string", "maxLength": _longest_span(text), SPANS_OF: text}
        spans.setdefault(span)
    return {"enum": list(spans)}


def _longest_span(text: str) -> int:
    pieces = segment(text)
    return max(pieces[last - 1].end - pieces[first].start for first, last in enumerate(reaches(pieces)))


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def box_schema(box_format: BoxFormat, size: Size, resized: Size | None = None) -> Schema:
    """Schema of the four numbers of a box in the order, form and range of a `BoxFormat`.

    Args:
        box_format: The coordinate convention.
        size: Width and height of the original image in pixels.
        resized: Width and height after the processor's resize, for the frame `resized`.
    """
    number: Schema = {"type": "integer", "minimum": 0}
    if box_format.form == "floats":
        # llguidance writes at most as many decimals as the factor has.
        number = {"type": "number", "minimum": 0, "multipleOf": 1 / box_format.scale}
    axes = [{**number, "maximum": largest} for largest in box_format.limits(size, resized)]
    return {"type": "array", "prefixItems": axes, "items": False, "minItems": 4, "maxItems": 4}


def free_text_schema(limit: int = MAX_REASONING) -> Schema:
    """Schema of a string with at most `limit` characters and without backslashes and control characters.

    Quotation marks are escaped, as in any JSON string. Without them, a model that wants to quote a word ends its
    reasoning there.
    """
    return {"type": "string", "pattern": f"^{_FREE_TEXT}{{0,{limit}}}$"}


def served_schema(schema: Schema) -> Schema:
    """Adapt a schema of this module for servers: free text is limited by `maxLength` instead of a pattern.

    xgrammar (vLLM, SGLang) fails on a character class that is repeated more than 128 times ("Check failed:
    per_rule_fsm_hashes"). Nested repetitions would work there, but are slow in llguidance. With `maxLength`, free text
    can also contain line breaks. vLLM refuses `multipleOf`, so that decimals are only limited to 0..1.

    Servers have no substring grammar, and cannot compile tens of thousands of spans in time. In a long text, the length
    of a span is therefore the only limit, which is logged as a warning. An answer with a span that is not in the text
    is then an `AnswerError`.

    Args:
        schema: A schema for the local engine; it is not modified.
    """
    long_texts: dict[str, int] = {}
    served = cast(Schema, _served(schema, long_texts))
    for text, longest in long_texts.items():
        _LOG.warning(
            "A post of %d characters has too many spans for the grammar of a server: spans are limited to %d "
            "characters, but not to the text of the post. Use a local model, or split the post",
            len(text),
            longest,
        )
    return served


def _served(part: Any, long_texts: dict[str, int]) -> Any:
    if isinstance(part, list):
        return [_served(item, long_texts) for item in part]
    if not isinstance(part, dict):
        return part
    if "pattern" in part:
        return {"type": "string", "maxLength": _limit(part)}
    if "multipleOf" in part:
        return {name: value for name, value in part.items() if name != "multipleOf"}
    if SPANS_OF in part:
        long_texts[part[SPANS_OF]] = part["maxLength"]
        return {name: value for name, value in part.items() if name != SPANS_OF}
    return {name: _served(value, long_texts) for name, value in part.items()}


def _limit(free_text: Schema) -> int:
    return int(free_text["pattern"].rsplit(",", 1)[1].rstrip("}$"))


def _mention_properties(text: str, labels: LabelSet) -> Schema:
    return {"span": _span_schema(text), "type": {"enum": list(labels)}}


def _list(items: Schema, text: str, limit: int) -> Schema:
    """Schema of a bounded list; the list is empty if the text has no words."""
    number = len(segment(text))
    if not number:
        return {"type": "array", "maxItems": 0}
    return {"type": "array", "items": items, "maxItems": min(limit, number)}


def _root(properties: Schema) -> Schema:
    return {**_object(properties), "x-guidance": _COMPACT}


def mentions_schema(text: str, labels: LabelSet, limits: Limits = Limits()) -> Schema:
    """Schema of an extraction answer: `{"mentions": [{"span", "type"}]}`."""
    return _root({"mentions": _list(_object(_mention_properties(text, labels)), text, limits.entities)})


def names_schema(text: str, labels: LabelSet, limits: Limits = Limits()) -> Schema:
    """Schema of an extraction answer with reasoning: `{"reasoning": str, "mentions": [{"span", "type"}]}`."""
    (mentions,) = mentions_schema(text, labels, limits)["properties"].values()
    return _root({"reasoning": free_text_schema(limits.reasoning), "mentions": mentions})


def expression_schema(
    box_format: BoxFormat,
    size: Size | None,
    resized: Size | None = None,
    limits: Limits = Limits(),
    more: Pictures = (),
) -> Schema:
    """Schema of the answer to a referring expression: `{"reasoning": str, "boxes": [[x1, y1, x2, y2]]}`.

    With further images (`more`), the boxes are `{"picture": 2, "box": [x1, y1, x2, y2]}`. Without an image, the list is
    empty.
    """
    boxes: Schema = {"type": "array", "maxItems": 0}
    if size is not None:
        regions = _regions(box_format, ((size, resized), *more))
        item = {"anyOf": [_object(region) for region in regions]} if more else regions[0]["box"]
        boxes = {"type": "array", "items": item, "maxItems": limits.entities}
    return _root({"reasoning": free_text_schema(limits.reasoning), "boxes": boxes})


def verification_schema(limits: Limits = Limits()) -> Schema:
    """Schema of a verification answer: `{"evidence": str, "visible": bool}`; the evidence precedes the decision."""
    return _root({"evidence": free_text_schema(limits.reasoning), "visible": {"type": "boolean"}})


def grounding_schema(
    box_format: BoxFormat, size: Size | None, resized: Size | None = None, more: Pictures = ()
) -> Schema:
    """Schema of a grounding answer: `{"box": [x1, y1, x2, y2]}` or `{"box": null}`; always null without an image.

    With further images (`more`), the answer is `{"region": {"picture": 2, "box": [x1, y1, x2, y2]}}` or
    `{"region": null}`.
    """
    if size is None:
        return _root({"box": {"type": "null"}})
    if more:
        regions = [_object(region) for region in _regions(box_format, ((size, resized), *more))]
        return _root({"region": {"anyOf": [*regions, {"type": "null"}]}})
    return _root({"box": {"anyOf": [box_schema(box_format, size, resized), {"type": "null"}]}})


def _regions(box_format: BoxFormat, pictures: Pictures) -> list[Schema]:
    """Properties of the region of a shown entity: one alternative for the images with the same range of coordinates."""
    if len(pictures) == 1:
        return [{"box": box_schema(box_format, *pictures[0])}]
    numbers: dict[Size, list[int]] = {}
    sizes: dict[Size, tuple[Size, Size | None]] = {}
    for number, (size, resized) in enumerate(pictures, 1):
        extent = box_format.extent(size, resized)
        numbers.setdefault(extent, []).append(number)
        sizes.setdefault(extent, (size, resized))
    return [{"picture": {"enum": numbers[extent]}, "box": box_schema(box_format, *sizes[extent])} for extent in numbers]


def answer_schema(
    text: str,
    labels: LabelSet,
    box_format: BoxFormat,
    size: Size | None,
    resized: Size | None = None,
    limits: Limits = Limits(),
    more: Pictures = (),
) -> Schema:
    """Schema of the end-to-end answer to one post.

    `{"reasoning": str, "entities": [{"span", "type", "visible", "box"}]}`: a span consists of adjacent pieces of the
    text, a type is a label, `box` is null exactly if `visible` is false, and coordinates are in range. For a post with
    several images, `picture` precedes `box`: the number of the image, counted from 1, or null.

    Args:
        text: The text of the post.
        labels: The entity types.
        box_format: The coordinate convention.
        size: Width and height of the original image in pixels; None if there is no image, so nothing can be visible.
        resized: Width and height after the processor's resize, for the frame `resized`.
        limits: Limits of reasoning and list.
        more: Size and resized size of each further image of a post with several.

    Source: our own format.
    """
    mention = _mention_properties(text, labels)
    nowhere = {"picture": {"type": "null"}} if more else {}
    hidden = _object({**mention, "visible": {"const": False}, **nowhere, "box": {"type": "null"}})
    if size is None:
        item = hidden
    else:
        regions = _regions(box_format, ((size, resized), *more))
        item = {"anyOf": [*(_object({**mention, "visible": {"const": True}, **r}) for r in regions), hidden]}
    return _root({"reasoning": free_text_schema(limits.reasoning), "entities": _list(item, text, limits.entities)})


def longest_answer(schema: Schema) -> int:
    """Upper bound of the length of an answer in UTF-8 bytes, and so in tokens of any byte-level tokenizer.

    Args:
        schema: A schema of this module.

    Returns:
        The maximum number of tokens of an answer that follows the schema.
    """
    if "enum" in schema:
        return max(len(json.dumps(value, ensure_ascii=True)) for value in schema["enum"])
    if "const" in schema:
        return len(json.dumps(schema["const"]))
    if "anyOf" in schema:
        return max(longest_answer(option) for option in schema["anyOf"])
    kind = schema["type"]
    if SPANS_OF in schema:
        return 2 + _longest_part(schema[SPANS_OF], schema["maxLength"])
    if kind == "object":
        return 2 + sum(len(json.dumps(name)) + 2 + longest_answer(part) for name, part in schema["properties"].items())
    if kind == "array" and "prefixItems" in schema:
        return 2 + sum(1 + longest_answer(part) for part in schema["prefixItems"])
    if kind == "array":
        return 2 + schema["maxItems"] * (1 + longest_answer(schema["items"]) if schema["maxItems"] else 0)
    if kind == "string":
        # A server may escape free text: a character above U+FFFF becomes two escapes of six bytes.
        return 2 + (12 * schema["maxLength"] if "maxLength" in schema else 4 * _limit(schema))
    if kind == "number":  # xgrammar writes six decimals at most
        return 2 + (len(str(round(1 / schema["multipleOf"]))) - 1 if "multipleOf" in schema else _SERVED_DECIMALS)
    return len(str(schema.get("maximum", "false")))


def _longest_part(text: str, characters: int) -> int:
    """The largest number of bytes of adjacent characters of a text in JSON with ASCII escapes."""
    sums = [0, *accumulate(len(json.dumps(character)) - 2 for character in text)]
    return max(end - start for start, end in zip(sums, sums[characters:] or sums[-1:], strict=False))
