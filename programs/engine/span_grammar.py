"""Grammars of schemas whose spans are too many to enumerate.

The suffix automaton of the pieces of a text has a size proportional to the text; an enumeration of its spans has that
size times the length of a span. JSON schemas cannot express it, so the schema becomes a Lark grammar: parts without
spans remain JSON schemas, and the parts around spans become rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from gmner.signatures.schema import SPANS_OF, Schema
from gmner.signatures.segmentation import segment

_HEAD = '%llguidance {"no_forcing": true}\n'

_UNIT = r'([^\\"]|\\["\\bfnrt]|\\u[0-9a-f]{4})'
_NOT_SPACE = r'([^\\"\s\u200b]|\\["\\b]|\\u00(0[0-8ef]|1[0-9ab]))'
# A character in a JSON string, as `json.dumps` writes it, and one that is not a space. Characters from U+001C to U+001F
# are spaces for Python, as are \t, \n, \f, \r and U+000B.


def has_spans(schema: Any) -> bool:
    """Whether a part of a schema has the keyword `SPANS_OF`."""
    if isinstance(schema, dict):
        return SPANS_OF in schema or any(map(has_spans, schema.values()))
    return isinstance(schema, list) and any(map(has_spans, schema))


def span_grammar(schema: Schema, options: dict[str, Any]) -> str:
    """The Lark grammar of a schema of `gmner.signatures.schema` in compact JSON.

    Args:
        schema: A schema for which `has_spans` is true.
        options: The `x-guidance` options of its parts without spans.
    """
    rules = _Rules(options)
    start = rules.of(schema)
    return _HEAD + "\n".join([f"start: {start}", *rules.lines, ""])


class _Rules:
    """Converts the parts of a schema to expressions, and collects the rules that they refer to."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.lines: list[str] = []
        self._options = options
        self._spans: dict[str, str] = {}

    def of(self, part: Schema) -> str:
        """The expression of a part."""
        if not has_spans(part):
            name = f"json_{len(self.lines)}"
            self.lines.append(f"{name}: %json {json.dumps({'x-guidance': self._options, **part}, ensure_ascii=False)}")
            return name
        if SPANS_OF in part:
            return self._span(part[SPANS_OF], part["maxLength"])
        if "anyOf" in part:
            return f"({' | '.join(map(self.of, part['anyOf']))})"
        if part["type"] == "object":
            return self._object(part["properties"])
        return self._array(self.of(part["items"]), part.get("minItems", 0), part["maxItems"])

    def _array(self, item: str, least: int, most: int) -> str:
        more = f' ("," {item}){{{max(least - 1, 0)},{most - 1}}}' if most > 1 else ""
        return f'"[" {item}{more} "]"' if least else f'"[" ({item}{more})? "]"'

    def _object(self, properties: Schema) -> str:
        parts: list[str] = []
        for name, part in properties.items():
            opening = ("," if parts else "{") + json.dumps(name, ensure_ascii=False) + ":"
            parts.append(f"{json.dumps(opening, ensure_ascii=False)} {self.of(part)}")
        return " ".join([*parts, '"}"'])

    def _span(self, text: str, longest: int) -> str:
        if text not in self._spans:
            name = f"SPAN_{len(self._spans)}"
            chunks = json.dumps({"substring_chunks": list(_chunks(text))}, ensure_ascii=False)
            self.lines += [
                f"{name}_PARTS: %regex {chunks}",
                f"{name}_SIZE: /{_NOT_SPACE}({_UNIT}{{0,{max(longest - 2, 0)}}}{_NOT_SPACE})?/",
                f'{name}: "\\"" ({name}_PARTS & {name}_SIZE) "\\""',
            ]
            self._spans[text] = name
        return self._spans[text]


def _chunks(text: str) -> Iterator[str]:
    """The pieces of a text and what is between them, as `json.dumps` writes them."""
    pieces = segment(text)
    cuts = sorted({cut for piece in pieces for cut in piece[:2]})
    yield from (json.dumps(text[start:end], ensure_ascii=False)[1:-1] for start, end in pairwise(cuts))
