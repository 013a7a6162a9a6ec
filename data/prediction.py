"""`Prediction`: what a program answered to one post, as a value and as one JSON record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from gmner.data.html_formatters import FORMATTERS
from gmner.data.listing import Listing, counted, shortened
from gmner.data.post import Post
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, GmnerError, InputError
from gmner.signatures.mentions import GroundedEntity

_ENTITY_KEYS = {"span", "start", "end", "type", "visible", "box"}
_KEYS = {"id", "text", "reasoning", "entities", "error"}


@dataclass(frozen=True, slots=True, repr=False)
class Prediction:
    """The answer to one post; in a notebook it shows itself, without the picture, which it does not hold.

    Attributes:
        id: The post's id.
        text: The post's text; offsets of the entities are into it.
        reasoning: The chain of reasoning; empty where there is none.
        entities: The predicted entities, boxes in float pixels of the original image.
        error: None, or why there is no answer: `{"kind", "message"}`, see `GmnerError.kind`.
    """

    id: str
    text: str
    reasoning: str = ""
    entities: tuple[GroundedEntity, ...] = ()
    error: dict[str, str] | None = None

    @classmethod
    def failed(cls, id: str, text: str, error: GmnerError) -> Prediction:
        """The record of a post that could not be answered."""
        return cls(id, text, error={"kind": error.kind, "message": str(error)})

    def to_record(self) -> dict[str, Any]:
        """The prediction as JSON data.

        `{"id", "text", "reasoning", "entities": [{"span", "start", "end", "type", "visible", "box"}], "error"}`, with
        character offsets, and boxes `[x1, y1, x2, y2]` in pixels of the original image, or null. An entity with further
        boxes has them as `"more_boxes": [[x1, y1, x2, y2]]`, one with a confidence as `"confidence": 0.97`; otherwise
        these keys are missing.
        """
        return {
            "id": self.id,
            "text": self.text,
            "reasoning": self.reasoning,
            "entities": [_entity_record(entity) for entity in self.entities],
            "error": self.error,
        }

    @classmethod
    def from_record(cls, record: object) -> Prediction:
        """The prediction of a record made by `to_record`.

        An entity whose span is not in the text stands at -1, -1; a place named twice is `Alignment.REUSED`.

        Raises:
            DataError: Other keys, offsets that do not hold the span, `visible` and `box` at odds, no box, or further
                boxes without a first.
        """
        fields = checked_object(record, _KEYS, "a prediction")
        for key in ("id", "text", "reasoning"):
            checked_string(fields[key], key)
        if not isinstance(fields["entities"], list):
            raise DataError("The entities of a prediction are not a list", received=fields["entities"])
        entities, taken = list[GroundedEntity](), set[tuple[int, int]]()
        for item in fields["entities"]:
            entities.append(_entity(item, fields["text"], taken))
            taken.add(entities[-1].key)
        return cls(fields["id"], fields["text"], fields["reasoning"], tuple(entities), _error(fields["error"]))

    def __repr__(self) -> str:
        """Id, the first words, and what was found: short enough for a list of them."""
        found = counted(len(self.entities), "entity", "entities")
        outcome = f"failed: {self.error['kind']}" if self.error else found
        return f"Prediction({self.id!r}, {shortened(self.text)!r}, {outcome})"

    def _repr_html_(self) -> str | None:
        return FORMATTERS.html(self)


class Predictions(Listing[Prediction]):
    """The answers to a list of posts, as a list; in a notebook the first of them show themselves with their posts.

    Attributes:
        posts: The posts that were answered, where they are known: with pictures and gold annotations.
    """

    def __init__(self, predictions: Iterable[Prediction] = (), posts: Iterable[Post] = ()) -> None:
        super().__init__(predictions)
        self.posts = tuple(posts)

    def __repr__(self) -> str:
        """How many there are, the ids of the first, and how many failed."""
        failed = sum(prediction.error is not None for prediction in self)
        return self.named(f"{failed:,} failed" if failed else "")

    def _repr_html_(self) -> str | None:
        return FORMATTERS.html(self)


def checked_object(value: object, keys: Set[str], what: str, optional: Set[str] = frozenset()) -> Mapping[str, Any]:
    """A JSON object with all of `keys` and at most `optional` beside them.

    Raises:
        DataError: Not an object, or other keys.
    """
    accepted = f"an object with {', '.join(sorted(keys))}"
    if optional:
        accepted += f", and at most {', '.join(sorted(optional))}"
    if not isinstance(value, dict):
        raise DataError(f"This is not {what}", received=value, accepted=accepted)
    missing, unknown = sorted(keys - set(value)), sorted(set(value) - keys - optional)
    if missing or unknown:
        faults = [f"no {', '.join(missing)}"] if missing else []
        faults += [f"an unknown key {', '.join(map(repr, unknown))}"] if unknown else []
        raise DataError(f"This is not {what}: {' and '.join(faults)}", received=value, accepted=accepted)
    return value


def checked_string(value: object, name: str) -> str:
    """A JSON string.

    Raises:
        DataError: Something else.
    """
    if not isinstance(value, str):
        raise DataError(f"`{name}` is not a string", received=value)
    return value


def checked_place(record: Mapping[str, Any], text: str) -> tuple[str, int, int]:
    """Span, start and end of a record, which hold that span of the text.

    Raises:
        DataError: They do not.
    """
    span, start, end = record["span"], record["start"], record["end"]
    whole = type(start) is int and type(end) is int
    if not isinstance(span, str) or not span or not whole or not 0 <= start < end or text[start:end] != span:
        raise DataError("A span does not stand at its offsets", received=(span, start, end), accepted="text[start:end]")
    return span, start, end


def checked_box(value: object) -> Box:
    """A box from `[x1, y1, x2, y2]`, pixels of the original image.

    Raises:
        DataError: Not four finite numbers in order.
    """
    if not isinstance(value, list) or len(value) != 4 or not all(type(v) in (int, float) for v in value):
        raise DataError("A box is not four numbers", received=value, accepted="[x1, y1, x2, y2]")
    try:
        return Box(*(float(v) for v in value))
    except (InputError, OverflowError) as error:
        raise DataError("A box is unusable", received=value, remedy=str(error)) from error


def _entity_record(entity: GroundedEntity) -> dict[str, Any]:
    record: dict[str, Any] = {
        "span": entity.span,
        "start": entity.start,
        "end": entity.end,
        "type": entity.type,
        "visible": entity.visible,
        "box": None if entity.box is None else list(entity.box.as_tuple()),
    }
    if entity.more_boxes:
        record["more_boxes"] = [list(box.as_tuple()) for box in entity.more_boxes]
    if entity.confidence is not None:
        record["confidence"] = entity.confidence
    return record


def _entity(record: object, text: str, taken: set[tuple[int, int]]) -> GroundedEntity:
    fields = checked_object(record, _ENTITY_KEYS, "an entity of a prediction", {"more_boxes", "confidence"})
    kind = checked_string(fields["type"], "type")
    box = None if fields["box"] is None else checked_box(fields["box"])
    if fields["visible"] is not (box is not None):
        raise DataError("`visible` and `box` are at odds", received=dict(fields))
    more = _more_boxes(fields.get("more_boxes", []), box)
    sure = _confidence(fields.get("confidence"))
    if fields["start"] == fields["end"] == -1:
        return GroundedEntity(checked_string(fields["span"], "span"), -1, -1, kind, box, Alignment.MISSING, more, sure)
    span, start, end = checked_place(fields, text)
    alignment = Alignment.REUSED if (start, end) in taken else Alignment.EXACT
    return GroundedEntity(span, start, end, kind, box, alignment, more, sure)


def _confidence(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise DataError("A confidence is no probability", received=value, accepted="a number in 0..1, or no such key")
    return float(value)


def _more_boxes(value: object, first: Box | None) -> tuple[Box, ...]:
    if not isinstance(value, list):
        raise DataError("`more_boxes` is not a list", received=value)
    if value and first is None:
        raise DataError("`more_boxes` and `box` are at odds", received=value, accepted="a first box beside them")
    return tuple(checked_box(box) for box in value)


def _error(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    fields = checked_object(value, {"kind", "message"}, "the error of a prediction")
    return {key: checked_string(fields[key], key) for key in ("kind", "message")}
