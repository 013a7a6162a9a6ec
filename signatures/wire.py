"""Renders answers as compact JSON, and parses them strictly. Malformed JSON is never repaired."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gmner.signatures.alignment import Alignment, align
from gmner.signatures.boxes import Box, BoxFormat, Size
from gmner.signatures.errors import AnswerError, InputError
from gmner.signatures.labels import LabelSet
from gmner.signatures.mentions import GroundedEntity, Mention

_NUMBERS = {"integers": frozenset({int}), "floats": frozenset({int, float})}
_ENTITY = frozenset({"span", "type", "visible", "box"})


@dataclass(frozen=True, slots=True)
class Frame:
    """The coordinate convention of a model, applied to one image.

    Args:
        box_format: The model family's coordinate convention.
        size: Width and height of the original image in pixels; None: no image.
        resized: Width and height after the processor's resize, if the convention is `resized`.
    """

    box_format: BoxFormat
    size: Size | None = None
    resized: Size | None = None

    def encode(self, box: Box) -> list[float]:
        """Convert a box in pixels of the original image to four numbers in the convention of the model."""
        if self.size is None:
            raise InputError("A post without an image cannot have a box", received=box.as_tuple())
        return list(self.box_format.encode(box, self.size, self.resized))

    def decode(self, wire: Sequence[float]) -> Box:
        """Convert four numbers in the convention of the model to a box in pixels of the original image."""
        if self.size is None:
            raise InputError("A post without an image cannot have a box", received=list(wire))
        return self.box_format.decode(wire, self.size, self.resized)


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed end-to-end answer: the reasoning, and the entities in order."""

    reasoning: str
    entities: tuple[GroundedEntity, ...]


def dump(value: object) -> str:
    """Serialize as compact JSON, as the grammar requires: no optional white space, non-ASCII characters unescaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def entity_record(span: str, type_: str, box: list[float] | None) -> dict[str, Any]:
    """The JSON data of an entity in an end-to-end answer."""
    return {"span": span, "type": type_, "visible": box is not None, "box": box}


def render_answer(reasoning: str, entities: Sequence[tuple[Mention, Box | None]], frame: Frame) -> str:
    """Render an end-to-end answer as the text that a model should write.

    Args:
        reasoning: The chain of reasoning; the schema allows no quotes, backslashes and control characters.
        entities: Pairs of mention and box (pixels of the original image; None if not shown).
        frame: The coordinate convention for the image of the post.
    """
    records = [entity_record(m.span, m.type, None if box is None else frame.encode(box)) for m, box in entities]
    return dump({"reasoning": reasoning, "entities": records})


def load_object(text: str, keys: Sequence[str]) -> dict[str, Any]:
    """Parse one JSON object that has exactly `keys`.

    Raises:
        AnswerError: The text is not JSON or not an object, or it has other keys.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnswerError("The answer is not JSON", received=text, remedy=str(error)) from error
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise AnswerError("The answer is not an object with the required keys", received=text, accepted=f"{list(keys)}")
    return value


def load_verification(text: str) -> dict[str, Any]:
    """Parse a verification answer with `evidence`, a string, and `visible`, a boolean.

    Raises:
        AnswerError: The text is not JSON of this form.
    """
    value = load_object(text, ("evidence", "visible"))
    if not isinstance(value["evidence"], str) or type(value["visible"]) is not bool:
        raise AnswerError("`evidence` must be a string and `visible` a boolean", received=value)
    return value


def load_mentions(records: object, text: str, labels: LabelSet) -> list[GroundedEntity]:
    """Create entities without boxes from JSON records with `span` and `type`.

    Raises:
        AnswerError: A record has another form, a span is not in the text, or a type is not a label.
    """
    return [
        GroundedEntity(record["span"], start, end, record["type"], None, alignment)
        for record, (start, end, alignment) in _placed(records, text, labels)
    ]


def _placed(records: object, text: str, labels: LabelSet) -> list[tuple[dict[str, Any], tuple[int, int, Alignment]]]:
    """Check records, and return each with the place of its span; see `load_mentions`."""
    if not isinstance(records, list):
        raise AnswerError("The entities of an answer must be a list", received=records)
    types = labels.names
    for record in records:
        if not isinstance(record, dict) or not isinstance(record.get("span"), str):
            raise AnswerError("An entity has no span", received=record)
        if record.get("type") not in types:
            raise AnswerError("An entity has an unknown type", received=record, accepted=", ".join(labels))
    places = align([record["span"] for record in records], text)
    for record, (start, _, _) in zip(records, places, strict=True):
        if start < 0:
            raise AnswerError("A span is not in the text", received=record["span"], accepted="whole words of the post")
    return list(zip(records, places, strict=True))


def load_box(value: object, frame: Frame, *, reorder: bool = False) -> Box | None:
    """Convert a JSON value, null or four numbers in range, to a box in pixels of the original image.

    Args:
        value: The JSON value.
        frame: The coordinate convention for the image of the post.
        reorder: Whether to swap reversed corners, which a grammar cannot forbid. Rewards never set this.

    Raises:
        AnswerError: The value is neither of the two, or corners are reversed.
    """
    if value is None:
        return None
    form = frame.box_format.form
    if not isinstance(value, list) or not _NUMBERS[form].issuperset(map(type, value)):
        written = "integers" if form == "integers" else "numbers from 0 to 1"
        raise AnswerError(f"A box must be null or four {written}", received=value)
    if reorder and len(value) == 4:
        a1, b1, a2, b2 = value  # xyxy or yxyx: the corners are pairs in both
        value = [min(a1, a2), min(b1, b2), max(a1, a2), max(b1, b2)]
    try:
        return frame.decode(value)
    except InputError as error:
        raise AnswerError(error.fact, received=value, accepted=error.accepted) from error


def parse_answer(text: str, post_text: str, labels: LabelSet, frame: Frame, *, reorder: bool = False) -> Answer:
    """Parse an end-to-end answer strictly.

    Args:
        text: The output of the model.
        post_text: The text of the post, with which spans are aligned.
        labels: The entity types.
        frame: The coordinate convention for the image of the post.
        reorder: See `load_box`.

    Raises:
        AnswerError: The JSON has another form, a span is not in the text, a type is unknown, `visible` and `box`
            contradict each other, or a box has coordinates out of range or reversed corners.
    """
    value = load_object(text, ("reasoning", "entities"))
    if not isinstance(value["reasoning"], str):
        raise AnswerError("The reasoning must be a string", received=value["reasoning"])
    entities = []
    for record, (start, end, alignment) in _placed(value["entities"], post_text, labels):
        if record.keys() != _ENTITY or type(record["visible"]) is not bool:
            raise AnswerError("An entity must have exactly span, type, visible and box", received=record)
        box = load_box(record["box"], frame, reorder=reorder)
        if record["visible"] != (box is not None):
            raise AnswerError("`visible` and `box` contradict each other", received=record)
        entities.append(GroundedEntity(record["span"], start, end, record["type"], box, alignment))
    return Answer(value["reasoning"], tuple(entities))
