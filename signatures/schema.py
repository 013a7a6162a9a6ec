"""The JSON schema of an answer, built for each request; constrained decoding with it makes every span verbatim."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from gmner.signatures.alignment import pieces
from gmner.signatures.boxes import BoxFormat, Size
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet

MAX_SPAN_PIECES = 14
MAX_REASONING = 900


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

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
_FREE_TEXT = r'[^"\\\x00-\x1f\x7f]'


def candidate_spans(text: str, max_pieces: int = MAX_SPAN_PIECES) -> list[str]:
    """All strings that can be spans of a text: up to `max_pieces` adjacent pieces, in order, without duplicates."""
    bounds = pieces(text)
    spans: dict[str, None] = {}
    for first, (start, _) in enumerate(bounds):
        for _, end in bounds[first : first + max_pieces]:
            spans.setdefault(text[start:end])
    return list(spans)


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def box_schema(box_format: BoxFormat, size: Size, resized: Size | None = None) -> Schema:
    """Schema of four integers x1, y1, x2, y2 in the range of a `BoxFormat`, for an image of `size` (width, height)."""
    ex, ey = box_format.extent(size, resized)
    axes = [{"type": "integer", "minimum": 0, "maximum": extent} for extent in (ex, ey, ex, ey)]
    return {"type": "array", "prefixItems": axes, "items": False, "minItems": 4, "maxItems": 4}


def free_text_schema(limit: int = MAX_REASONING) -> Schema:
    """Schema of a string with at most `limit` characters and without quotes, backslashes and control characters."""
    return {"type": "string", "pattern": f"^{_FREE_TEXT}{{0,{limit}}}$"}


def served_schema(schema: Schema) -> Schema:
    """Adapt a schema of this module for servers: free text is limited by `maxLength` instead of a pattern.

    xgrammar (vLLM, SGLang) fails on a character class that is repeated more than 128 times ("Check failed:
    per_rule_fsm_hashes"). Nested repetitions would work there, but are slow in llguidance. With `maxLength`, free text
    can contain escaped quotes and line breaks.

    Args:
        schema: A schema for the local engine; it is not modified.
    """
    return cast(Schema, _served(schema))


def _served(part: Any) -> Any:
    if isinstance(part, list):
        return [_served(item) for item in part]
    if not isinstance(part, dict):
        return part
    if "pattern" in part:
        return {"type": "string", "maxLength": _limit(part)}
    return {name: _served(value) for name, value in part.items()}


def _limit(free_text: Schema) -> int:
    return int(free_text["pattern"].rsplit(",", 1)[1].rstrip("}$"))


def _mention_properties(text: str, labels: LabelSet) -> Schema:
    return {"span": {"enum": candidate_spans(text)}, "type": {"enum": list(labels)}}


def _list(items: Schema, text: str, limit: int) -> Schema:
    """Schema of a bounded list; the list is empty if the text has no words."""
    if not pieces(text):
        return {"type": "array", "maxItems": 0}
    return {"type": "array", "items": items, "maxItems": min(limit, len(pieces(text)))}


def _root(properties: Schema) -> Schema:
    return {**_object(properties), "x-guidance": _COMPACT}


def mentions_schema(text: str, labels: LabelSet, limits: Limits = Limits()) -> Schema:
    """Schema of an extraction answer: `{"mentions": [{"span", "type"}]}`."""
    return _root({"mentions": _list(_object(_mention_properties(text, labels)), text, limits.entities)})


def verification_schema(limits: Limits = Limits()) -> Schema:
    """Schema of a verification answer: `{"evidence": str, "visible": bool}`; the evidence precedes the decision."""
    return _root({"evidence": free_text_schema(limits.reasoning), "visible": {"type": "boolean"}})


def grounding_schema(box_format: BoxFormat, size: Size | None, resized: Size | None = None) -> Schema:
    """Schema of a grounding answer: `{"box": [x1, y1, x2, y2]}` or `{"box": null}`; always null without an image."""
    if size is None:
        return _root({"box": {"type": "null"}})
    return _root({"box": {"anyOf": [box_schema(box_format, size, resized), {"type": "null"}]}})


def answer_schema(
    text: str,
    labels: LabelSet,
    box_format: BoxFormat,
    size: Size | None,
    resized: Size | None = None,
    limits: Limits = Limits(),
) -> Schema:
    """Schema of the end-to-end answer to one post.

    `{"reasoning": str, "entities": [{"span", "type", "visible", "box"}]}`: a span consists of adjacent pieces of the
    text, a type is a label, `box` is null exactly if `visible` is false, and coordinates are in range.

    Args:
        text: The text of the post.
        labels: The entity types.
        box_format: The coordinate convention.
        size: Width and height of the original image in pixels; None if there is no image, so nothing can be visible.
        resized: Width and height after the processor's resize, for the frame `resized`.
        limits: Limits of reasoning and list.

    Source: our own format.
    """
    mention = _mention_properties(text, labels)
    hidden = _object({**mention, "visible": {"const": False}, "box": {"type": "null"}})
    if size is None:
        item = hidden
    else:
        box = box_schema(box_format, size, resized)
        item = {"anyOf": [_object({**mention, "visible": {"const": True}, "box": box}), hidden]}
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
    if kind == "object":
        return 2 + sum(len(json.dumps(name)) + 2 + longest_answer(part) for name, part in schema["properties"].items())
    if kind == "array" and "prefixItems" in schema:
        return 2 + sum(1 + longest_answer(part) for part in schema["prefixItems"])
    if kind == "array":
        return 2 + schema["maxItems"] * (1 + longest_answer(schema["items"]) if schema["maxItems"] else 0)
    if kind == "string":
        # A server may escape free text: a character above U+FFFF becomes two escapes of six bytes.
        return 2 + (12 * schema["maxLength"] if "maxLength" in schema else 4 * _limit(schema))
    return len(str(schema.get("maximum", "false")))
