"""The JSON form of each task: its schema, and how answers are rendered and parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmner.signatures import schema, wire
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity, Mention
from gmner.signatures.wire import Frame

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """The inputs that determine the schema and the parsing of an answer.

    Attributes:
        text: The text of the post.
        labels: The entity types.
        frame: Coordinate convention and sizes of the images of the post.
        mention: The mention in question, for verification and grounding.
        limits: Limits of the answer.
    """

    text: str
    labels: LabelSet
    frame: Frame
    mention: str | None = None
    limits: schema.Limits = schema.Limits()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Form:
    """The JSON form of a task.

    Attributes:
        schema: Request -> JSON schema of the answer.
        render: Output values (boxes in pixels of the original image), request -> text of the answer.
        parse: Text of the answer, request, whether to reorder reversed corners -> output values. Raises AnswerError.
    """

    schema: Callable[[Request], schema.Schema]
    render: Callable[[Mapping[str, Any], Request], str]
    parse: Callable[[str, Request, bool], Values]


def as_box(value: object) -> Box | None:
    """Convert a `Box`, four numbers in pixels of the original image, or None to a box.

    A fifth number is the number of the image that the box is in, see `Box`.

    Raises:
        InputError: The value is none of these.
    """
    if value is None or isinstance(value, Box):
        return value
    if isinstance(value, (list, tuple)) and len(value) in (4, 5):
        return Box(*value[:4], picture=value[4] if len(value) == 5 else 1)
    raise InputError("Not a box", received=value, accepted="Box, [x1, y1, x2, y2] in pixels, or None")


def box_data(box: Box) -> list[float]:
    """Convert a box to JSON data, with the number of its image as a fifth item if that is not the first image.

    Inverse of `as_box`.
    """
    return [*box.as_tuple(), *((box.picture,) if box.picture > 1 else ())]


def as_entity(value: object) -> GroundedEntity:
    """Convert a mention, or JSON data with span, start, end, type and box (pixels), to an entity.

    `picture` is the number of the image of the box, counted from 1; without it, the first image.

    Raises:
        InputError: The value is neither.
    """
    if isinstance(value, GroundedEntity):
        return value
    if isinstance(value, GoldEntity):
        return GroundedEntity(value.span, value.start, value.end, value.type, value.boxes[0] if value.boxes else None)
    if isinstance(value, Mention):
        return GroundedEntity(value.span, value.start, value.end, value.type)
    if isinstance(value, Mapping) and {"span", "start", "end", "type"} <= set(value):
        box, picture = as_box(value.get("box")), value.get("picture")
        if box is not None and picture is not None:
            box = replace(box, picture=picture)
        more = tuple(box for box in map(as_box, value.get("more_boxes") or ()) if box is not None)
        return GroundedEntity(value["span"], value["start"], value["end"], value["type"], box, more_boxes=more)
    raise InputError("Not an entity", received=value, accepted="GroundedEntity, or span, start, end, type, box")


def as_data(entity: GroundedEntity) -> dict[str, Any]:
    """Convert an entity to JSON data, with the box in pixels of the original image. Inverse of `as_entity`.

    `picture`, the number of the image of the box, is only given if that is not the first image, and `more_boxes`, a
    list of `box_data`, only if there are any.
    """
    box = None if entity.box is None else list(entity.box.as_tuple())
    data = {"span": entity.span, "start": entity.start, "end": entity.end, "type": entity.type, "box": box}
    data |= {"picture": entity.box.picture} if entity.box is not None and entity.box.picture > 1 else {}
    return data | ({"more_boxes": [box_data(box) for box in entity.more_boxes]} if entity.more_boxes else {})


def _answer_schema(request: Request) -> schema.Schema:
    return schema.answer_schema(
        request.text,
        request.labels,
        request.frame.box_format,
        request.frame.size,
        request.frame.resized,
        request.limits,
        request.frame.more,
    )


def _render_answer(values: Mapping[str, Any], request: Request) -> str:
    entities = [as_entity(value) for value in values["entities"]]
    return wire.render_answer(values.get("reasoning") or "", [(e, e.box) for e in entities], request.frame)


def _parse_answer(text: str, request: Request, reorder: bool) -> Values:
    answer = wire.parse_answer(text, request.text, request.labels, request.frame, reorder=reorder)
    return {"reasoning": answer.reasoning, "entities": list(answer.entities)}


def _render_mentions(values: Mapping[str, Any], request: Request) -> str:
    return wire.dump({"mentions": _mention_records(values)})


def _mention_records(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"span": mention.span, "type": mention.type} for mention in map(as_entity, values["mentions"])]


def _parse_mentions(text: str, request: Request, reorder: bool) -> Values:
    return _mentions(wire.load_object(text, ("mentions",))["mentions"], request)


def _mentions(records: object, request: Request) -> Values:
    found = wire.load_mentions(records, request.text, request.labels)
    return {"mentions": [Mention(m.span, m.start, m.end, m.type) for m in found]}


def _render_names(values: Mapping[str, Any], request: Request) -> str:
    return wire.dump({"reasoning": values.get("reasoning") or "", "mentions": _mention_records(values)})


def _parse_names(text: str, request: Request, reorder: bool) -> Values:
    reasoning, records = wire.load_reasoned(text, "mentions")
    return {"reasoning": reasoning, **_mentions(records, request)}


def _expression_schema(request: Request) -> schema.Schema:
    frame = request.frame
    return schema.expression_schema(frame.box_format, frame.size, frame.resized, request.limits, frame.more)


def _render_boxes(values: Mapping[str, Any], request: Request) -> str:
    boxes = [as_box(value) for value in values["boxes"]]
    regions = [request.frame.region(box) for box in boxes]
    records = regions if request.frame.several else [region["box"] for region in regions]
    return wire.dump({"reasoning": values.get("reasoning") or "", "boxes": records})


def _parse_boxes(text: str, request: Request, reorder: bool) -> Values:
    reasoning, records = wire.load_reasoned(text, "boxes")
    return {"reasoning": reasoning, "boxes": wire.load_boxes(records, request.frame, reorder=reorder)}


def _render_verification(values: Mapping[str, Any], request: Request) -> str:
    return wire.dump({"evidence": values.get("evidence") or "", "visible": bool(values["visible"])})


def _parse_verification(text: str, request: Request, reorder: bool) -> Values:
    return wire.load_verification(text)


def _render_box(values: Mapping[str, Any], request: Request) -> str:
    return wire.render_grounding(as_box(values["box"]), request.frame)


def _parse_box(text: str, request: Request, reorder: bool) -> Values:
    region = wire.load_grounding(text, several=request.frame.several)
    return {"box": wire.load_region(region, request.frame, reorder=reorder)}


def _grounding_schema(request: Request) -> schema.Schema:
    frame = request.frame
    return schema.grounding_schema(frame.box_format, frame.size, frame.resized, frame.more)


_FORMS: dict[frozenset[str], Form] = {
    frozenset({"reasoning", "entities"}): Form(_answer_schema, _render_answer, _parse_answer),
    frozenset({"mentions"}): Form(
        lambda request: schema.mentions_schema(request.text, request.labels, request.limits),
        _render_mentions,
        _parse_mentions,
    ),
    frozenset({"evidence", "visible"}): Form(
        lambda request: schema.verification_schema(request.limits), _render_verification, _parse_verification
    ),
    frozenset({"box"}): Form(_grounding_schema, _render_box, _parse_box),
    frozenset({"reasoning", "mentions"}): Form(
        lambda request: schema.names_schema(request.text, request.labels, request.limits), _render_names, _parse_names
    ),
    frozenset({"reasoning", "boxes"}): Form(_expression_schema, _render_boxes, _parse_boxes),
}


def form_of(output_names: Sequence[str]) -> Form:
    """Find the form of the task with these output fields.

    Raises:
        InputError: No task has these output fields.
    """
    form = _FORMS.get(frozenset(output_names))
    if form is None:
        accepted = "; ".join(", ".join(sorted(names)) for names in _FORMS)
        raise InputError("No task has these output fields", received=list(output_names), accepted=accepted)
    return form
