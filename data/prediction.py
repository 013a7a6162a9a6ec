"""`Prediction`: the answer of a program to one post, as a value and as a JSON record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from gmner.data.html_formatters import FORMATTERS
from gmner.data.listing import Listing, counted, shortened
from gmner.data.post import Post
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, GmnerError, InputError
from gmner.signatures.mentions import GroundedEntity

_ENTITY_KEYS = {"span", "start", "end", "type", "visible", "box"}
_OPTIONAL_KEYS = {"picture", "more_boxes", "more_pictures", "confidence"}
_KEYS = {"id", "text", "reasoning", "entities", "error"}
_THINKING = "thinking"


@dataclass(frozen=True, slots=True, repr=False)
class Prediction:
    """The answer to one post. Notebooks display it without the image, which it does not contain.

    Attributes:
        id: The post's id.
        text: The post's text; offsets of the entities refer to it.
        reasoning: The chain of reasoning; empty if there is none.
        entities: The predicted entities, boxes in float pixels of the original image.
        error: Why there is no answer: `{"kind", "message"}`, see `GmnerError.kind`; None if there is one.
        thinking: What a thinking model wrote before its answer; empty if there is nothing.
    """

    id: str
    text: str
    reasoning: str = ""
    entities: tuple[GroundedEntity, ...] = ()
    error: dict[str, str] | None = None
    thinking: str = ""

    @classmethod
    def failed(cls, id: str, text: str, error: GmnerError) -> Prediction:
        """Create the prediction of a post that could not be answered."""
        return cls(id, text, error={"kind": error.kind, "message": str(error)})

    def to_record(self) -> dict[str, Any]:
        """Convert the prediction to JSON data.

        `{"id", "text", "reasoning", "entities": [{"span", "start", "end", "type", "visible", "box"}], "error"}`, with
        character offsets, and boxes `[x1, y1, x2, y2]` in pixels of the original image, or null. An entity that has
        further boxes or a confidence also has the keys `"more_boxes": [[x1, y1, x2, y2]]` or `"confidence": 0.97`. A
        box that is not in the first image of its post has the number of its image beside it, counted from 1:
        `"picture": 2`, and for further boxes `"more_pictures": [2]`. The answer of a thinking model also has the key
        `"thinking"`.
        """
        record = {
            "id": self.id,
            "text": self.text,
            "reasoning": self.reasoning,
            "entities": [_entity_record(entity) for entity in self.entities],
            "error": self.error,
        }
        return {**record, _THINKING: self.thinking} if self.thinking else record

    @classmethod
    def from_record(cls, record: object) -> Prediction:
        """Create a prediction from a record of `to_record`.

        An entity whose span is not in the text has the offsets -1, -1. An entity with the offsets of an earlier one has
        `Alignment.REUSED`.

        Raises:
            DataError: Missing or unknown keys, offsets that do not match the span, `visible` and `box` that contradict
                each other, an invalid box, or `more_boxes` without `box`.
        """
        fields = checked_object(record, _KEYS, "a prediction", {_THINKING})
        for key in ("id", "text", "reasoning"):
            checked_string(fields[key], key)
        thinking = checked_string(fields.get(_THINKING, ""), _THINKING)
        if not isinstance(fields["entities"], list):
            raise DataError("The entities of a prediction must be a list", received=fields["entities"])
        entities, taken = list[GroundedEntity](), set[tuple[int, int]]()
        for item in fields["entities"]:
            entities.append(_entity(item, fields["text"], taken))
            taken.add(entities[-1].key)
        error = _error(fields["error"])
        return cls(fields["id"], fields["text"], fields["reasoning"], tuple(entities), error, thinking)

    def __repr__(self) -> str:
        """Id, first words, and the number of entities or the error; short enough for a list of predictions."""
        entities = counted(len(self.entities), "entity", "entities")
        outcome = f"failed: {self.error['kind']}" if self.error else entities
        return f"Prediction({self.id!r}, {shortened(self.text)!r}, {outcome})"

    def _repr_html_(self) -> str | None:
        return FORMATTERS.html(self)


class Predictions(Listing[Prediction]):
    """A list of predictions. Notebooks display the first of them with their posts.

    Attributes:
        posts: The posts that were answered, with images and gold annotations; empty if unknown.
    """

    def __init__(self, predictions: Iterable[Prediction] = (), posts: Iterable[Post] = ()) -> None:
        super().__init__(predictions)
        self.posts = tuple(posts)

    def __repr__(self) -> str:
        """Number of predictions, first ids, and number of failures."""
        failed = sum(prediction.error is not None for prediction in self)
        return self.named(f"{failed:,} failed" if failed else "")

    def _repr_html_(self) -> str | None:
        return FORMATTERS.html(self)


def checked_object(value: object, keys: Set[str], kind: str, optional: Set[str] = frozenset()) -> Mapping[str, Any]:
    """Check that a value is a JSON object with all of `keys` and no others except `optional`.

    Raises:
        DataError: It is not an object, or keys are missing or unknown.
    """
    accepted = f"an object with {', '.join(sorted(keys))}"
    if optional:
        accepted += f", and optionally {', '.join(sorted(optional))}"
    if not isinstance(value, dict):
        raise DataError(f"This is not {kind}", received=value, accepted=accepted)
    missing, unknown = sorted(keys - set(value)), sorted(set(value) - keys - optional)
    if missing or unknown:
        faults = [f"missing key {', '.join(map(repr, missing))}"] if missing else []
        faults += [f"unknown key {', '.join(map(repr, unknown))}"] if unknown else []
        raise DataError(f"This is not {kind}: {'; '.join(faults)}", received=value, accepted=accepted)
    return value


def checked_string(value: object, name: str) -> str:
    """Check that a JSON value is a string.

    Raises:
        DataError: It is not.
    """
    if not isinstance(value, str):
        raise DataError(f"`{name}` must be a string", received=value)
    return value


def checked_place(record: Mapping[str, Any], text: str) -> tuple[str, int, int]:
    """Check and return span, start and end of a record.

    Raises:
        DataError: The span is not `text[start:end]`.
    """
    span, start, end = record["span"], record["start"], record["end"]
    integers = type(start) is int and type(end) is int
    if not isinstance(span, str) or not span or not integers or not 0 <= start < end or text[start:end] != span:
        raise DataError("A span does not match its offsets", received=(span, start, end), accepted="text[start:end]")
    return span, start, end


def checked_box(value: object) -> Box:
    """Create a box from `[x1, y1, x2, y2]`, pixels of the original image.

    Raises:
        DataError: The value is not four finite numbers with x1 <= x2 and y1 <= y2.
    """
    if not isinstance(value, list) or len(value) != 4 or not all(type(number) in (int, float) for number in value):
        raise DataError("A box must be four numbers", received=value, accepted="[x1, y1, x2, y2]")
    try:
        return Box(*map(float, value))
    except (InputError, OverflowError) as error:
        raise DataError("A box is invalid", received=value, remedy=str(error)) from error


def in_picture(box: Box, number: object) -> Box:
    """The same box in the image with this number.

    Raises:
        DataError: The number is not an integer of at least 1.
    """
    if type(number) is not int or number < 1:
        accepted = "an integer of at least 1: the images of a post are counted from 1"
        raise DataError("The number of an image is invalid", received=number, accepted=accepted)
    return box if number == box.picture else replace(box, picture=number)


def in_pictures(boxes: Sequence[Box], numbers: object, name: str) -> tuple[Box, ...]:
    """The same boxes in the images with these numbers, one for each box; None: all are in the first image.

    Raises:
        DataError: There are more or fewer numbers than boxes, or one is not an integer of at least 1.
    """
    if numbers is None:
        return tuple(boxes)
    if not isinstance(numbers, list) or len(numbers) != len(boxes):
        accepted = f"a list of {len(boxes)} integers, one for each box"
        raise DataError(f"`{name}` must have the number of an image for each box", received=numbers, accepted=accepted)
    return tuple(in_picture(box, number) for box, number in zip(boxes, numbers, strict=True))


def _entity_record(entity: GroundedEntity) -> dict[str, Any]:
    record: dict[str, Any] = {
        "span": entity.span,
        "start": entity.start,
        "end": entity.end,
        "type": entity.type,
        "visible": entity.visible,
        "box": None if entity.box is None else list(entity.box.as_tuple()),
    }
    if entity.box is not None and entity.box.picture > 1:
        record["picture"] = entity.box.picture
    if entity.more_boxes:
        record["more_boxes"] = [list(box.as_tuple()) for box in entity.more_boxes]
    if any(box.picture > 1 for box in entity.more_boxes):
        record["more_pictures"] = [box.picture for box in entity.more_boxes]
    if entity.confidence is not None:
        record["confidence"] = entity.confidence
    return record


def _entity(record: object, text: str, taken: set[tuple[int, int]]) -> GroundedEntity:
    fields = checked_object(record, _ENTITY_KEYS, "an entity of a prediction", _OPTIONAL_KEYS)
    kind = checked_string(fields["type"], "type")
    box = _first_box(fields)
    if fields["visible"] is not (box is not None):
        raise DataError("`visible` and `box` contradict each other", received=dict(fields))
    more_boxes = _more_boxes(fields, box)
    confidence = _confidence(fields.get("confidence"))
    if fields["start"] == fields["end"] == -1:
        span = checked_string(fields["span"], "span")
        return GroundedEntity(span, -1, -1, kind, box, Alignment.MISSING, more_boxes, confidence)
    span, start, end = checked_place(fields, text)
    alignment = Alignment.REUSED if (start, end) in taken else Alignment.EXACT
    return GroundedEntity(span, start, end, kind, box, alignment, more_boxes, confidence)


def _confidence(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise DataError("`confidence` must be from 0 to 1", received=value, accepted="0 to 1, or no such key")
    return float(value)


def _first_box(fields: Mapping[str, Any]) -> Box | None:
    picture = fields.get("picture")
    if fields["box"] is not None:
        return in_picture(checked_box(fields["box"]), 1 if picture is None else picture)
    if picture is not None:
        raise DataError("`picture` requires `box`", received=picture, accepted="no such key if `box` is null")
    return None


def _more_boxes(fields: Mapping[str, Any], first: Box | None) -> tuple[Box, ...]:
    value = fields.get("more_boxes", [])
    if not isinstance(value, list):
        raise DataError("`more_boxes` must be a list", received=value)
    if value and first is None:
        raise DataError(
            "`more_boxes` requires `box`",
            received=value,
            accepted="the first box in `box`, further ones in `more_boxes`",
        )
    return in_pictures([checked_box(box) for box in value], fields.get("more_pictures"), "more_pictures")


def _error(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    fields = checked_object(value, {"kind", "message"}, "the error of a prediction")
    return {key: checked_string(fields[key], key) for key in ("kind", "message")}
