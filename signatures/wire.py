"""Renders answers as compact JSON, and parses them strictly. Malformed JSON is never repaired."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmner.signatures.alignment import Alignment, align
from gmner.signatures.boxes import Box, BoxFormat, Size
from gmner.signatures.errors import AnswerError, InputError
from gmner.signatures.labels import LabelSet
from gmner.signatures.mentions import GroundedEntity, Mention, Task, expression_entity

_NUMBERS = {"integers": frozenset({int}), "floats": frozenset({int, float})}
_OTHER_CONVENTION = (
    "If most answers fail like this, the model writes boxes in another convention, which `gmner probe MODEL` finds"
)
_ENTITY = frozenset({"span", "type", "visible", "box"})
_ENTITY_OF_SEVERAL = _ENTITY | {"picture"}
_MENTION = frozenset({"span", "type"})

Sizes = tuple[Size, Size | None]
"""Width and height of an image in pixels, and after the processor's resize if the convention is `resized`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The coordinate convention of a model, applied to the images of a post.

    Args:
        box_format: The model family's coordinate convention.
        size: Width and height of the original image in pixels; None: no image.
        resized: Width and height after the processor's resize, if the convention is `resized`.
        more: Sizes of the further images of a post with several. Its answers have the number of an image, `picture`,
            beside each box.
    """

    box_format: BoxFormat
    size: Size | None = None
    resized: Size | None = None
    more: tuple[Sizes, ...] = ()

    @property
    def several(self) -> bool:
        """Whether the post has more than one image."""
        return bool(self.more)

    @property
    def pictures(self) -> tuple[Sizes, ...]:
        """The sizes of all images, in order; empty without an image."""
        return () if self.size is None else ((self.size, self.resized), *self.more)

    def sizes(self, picture: int) -> Sizes:
        """The sizes of an image.

        Args:
            picture: Its number, counted from 1.

        Raises:
            InputError: The post has no such image.
        """
        if picture == 1 and self.size is not None:
            return self.size, self.resized
        if self.size is None or not 1 < picture <= 1 + len(self.more):
            accepted = f"1 to {len(self.pictures)}" if self.pictures else "no box, because the post has no image"
            raise InputError("A box is in an image that the post does not have", received=picture, accepted=accepted)
        return self.more[picture - 2]

    def encode(self, box: Box) -> list[float]:
        """Convert a box in pixels of the original image to four numbers in the convention of the model."""
        if self.size is None:
            raise InputError("A post without an image cannot have a box", received=box.as_tuple())
        return list(self.box_format.encode(box, *self.sizes(box.picture)))

    def decode(self, wire: Sequence[float], picture: int = 1) -> Box:
        """Convert four numbers in the convention of the model to a box in pixels of the original image.

        Args:
            wire: The numbers.
            picture: Number of the image of the post that the box is in, counted from 1.
        """
        if self.size is None:
            raise InputError("A post without an image cannot have a box", received=list(wire))
        box = self.box_format.decode(wire, *self.sizes(picture))
        return box if picture == 1 else replace(box, picture=picture)

    def region(self, box: Box | None) -> dict[str, Any]:
        """The JSON data of a region in an answer: `box`, preceded by `picture` if the post has several images."""
        where = {"picture": None if box is None else box.picture} if self.more else {}
        return {**where, "box": None if box is None else self.encode(box)}


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed answer: the reasoning, and the entities in order."""

    reasoning: str
    entities: tuple[GroundedEntity, ...]


def dump(value: object) -> str:
    """Serialize as compact JSON, as the grammar requires: no optional white space, non-ASCII characters unescaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def entity_record(span: str, type_: str, region: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON data of an entity in an end-to-end answer; `region` is that of `Frame.region`."""
    return {"span": span, "type": type_, "visible": region["box"] is not None, **region}


def render_answer(reasoning: str, entities: Sequence[tuple[Mention, Box | None]], frame: Frame) -> str:
    """Render an end-to-end answer as the text that a model should write.

    Args:
        reasoning: The chain of reasoning; the schema allows no backslashes and control characters.
        entities: Pairs of mention and box (pixels of the original image; None if not shown).
        frame: The coordinate convention for the image of the post.
    """
    records = [entity_record(m.span, m.type, frame.region(box)) for m, box in entities]
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


def render_grounding(box: Box | None, frame: Frame) -> str:
    """Render a grounding answer, see `gmner.signatures.schema.grounding_schema`.

    Args:
        box: Pixels of the original image; None if not shown.
        frame: The coordinate convention for the images of the post.
    """
    region = frame.region(box)
    return dump({"region": None if box is None else region} if frame.several else region)


def load_grounding(text: str, *, several: bool) -> dict[str, Any]:
    """Parse a grounding answer into the JSON data of its region, see `Frame.region`.

    Args:
        text: The answer.
        several: Whether the post has several images.

    Raises:
        AnswerError: The text is not JSON of this form.
    """
    if not several:
        return load_object(text, ("box",))
    region = load_object(text, ("region",))["region"]
    if region is None:
        return {"picture": None, "box": None}
    if not isinstance(region, dict) or region.keys() != {"picture", "box"} or None in region.values():
        raise AnswerError("`region` must be null, or an object with picture and box", received=region)
    return region


def load_reasoned(text: str, key: str) -> tuple[str, list[Any]]:
    """Parse an answer that consists of `reasoning` and a list.

    Args:
        text: The answer.
        key: The name of the list.

    Raises:
        AnswerError: The text is not JSON of this form.
    """
    value = load_object(text, ("reasoning", key))
    if not isinstance(value["reasoning"], str) or not isinstance(value[key], list):
        raise AnswerError(f"`reasoning` must be a string and `{key}` a list", received=value)
    return value["reasoning"], value[key]


def load_boxes(records: Sequence[Any], frame: Frame, *, reorder: bool = False) -> list[Box]:
    """Convert the boxes of an answer to boxes in pixels of the original image.

    Args:
        records: Four numbers each; for several images `{"picture", "box"}` each.
        frame: The coordinate convention for the images.
        reorder: See `load_box`.

    Raises:
        AnswerError: See `load_region`; or one of them is null.
    """
    found = []
    for record in records:
        if frame.several and (not isinstance(record, dict) or record.keys() != {"picture", "box"}):
            raise AnswerError("A box must be an object with picture and box", received=record)
        box = load_region(record if frame.several else {"box": record}, frame, reorder=reorder)
        if box is None:
            raise AnswerError("A box must not be null", received=record)
        found.append(box)
    return found


def load_mentions(records: object, text: str, labels: LabelSet) -> list[GroundedEntity]:
    """Create entities without boxes from JSON records with `span` and `type`.

    Raises:
        AnswerError: A record has another form, a span is not in the text, or a type is not a label.
    """
    placed = _placed(records, text, labels)
    for record, _ in placed:
        if record.keys() != _MENTION:
            raise AnswerError("A mention must have exactly span and type", received=record)
    return [
        GroundedEntity(record["span"], start, end, record["type"], None, alignment)
        for record, (start, end, alignment) in placed
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


def load_region(record: Mapping[str, Any], frame: Frame, *, reorder: bool = False) -> Box | None:
    """Convert the region of an answer, see `Frame.region`, to a box in pixels of the original image.

    Args:
        record: JSON data with `box`, and with `picture` exactly if the post has several images.
        frame: The coordinate convention for the images of the post.
        reorder: See `load_box`.

    Raises:
        AnswerError: See `load_box`; or `picture` is not the number of an image of the post, counted from 1; or only one
            of `picture` and `box` is null.
    """
    if not frame.several:
        return load_box(record["box"], frame, reorder=reorder)
    picture, images = record["picture"], len(frame.pictures)
    if (picture is None) != (record["box"] is None):
        raise AnswerError("`picture` and `box` contradict each other", received=dict(record))
    if picture is None:
        return None
    if type(picture) is not int or not 1 <= picture <= images:
        accepted = f"1 to {images}"
        raise AnswerError("`picture` is not the number of an image of the post", received=picture, accepted=accepted)
    return load_box(record["box"], frame, picture, reorder=reorder)


def load_box(value: object, frame: Frame, picture: int = 1, *, reorder: bool = False) -> Box | None:
    """Convert a JSON value, null or four numbers in range, to a box in pixels of the original image.

    Args:
        value: The JSON value.
        frame: The coordinate convention for the image of the post.
        picture: Number of the image that the box is in, counted from 1.
        reorder: Whether to swap reversed corners, which a grammar cannot forbid. Rewards never set this.

    Raises:
        AnswerError: The value is neither of the two, or corners are reversed.
    """
    if value is None:
        return None
    form = frame.box_format.form
    if not isinstance(value, list) or len(value) != 4 or not _NUMBERS[form].issuperset(map(type, value)):
        written = "integers" if form == "integers" else "numbers from 0 to 1"
        raise AnswerError(f"A box must be null or four {written}", received=value, remedy=_OTHER_CONVENTION)
    if reorder:
        a1, b1, a2, b2 = value  # xyxy or yxyx: the corners are pairs in both
        value = [min(a1, a2), min(b1, b2), max(a1, a2), max(b1, b2)]
    try:
        return frame.decode(value, picture)
    except InputError as error:
        remedy = error.remedy or (_OTHER_CONVENTION if error.accepted else "")
        raise AnswerError(error.fact, received=value, accepted=error.accepted, remedy=remedy) from error


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
            contradict each other, a box has coordinates out of range or reversed corners, or it is in an image that the
            post does not have.
    """
    value = load_object(text, ("reasoning", "entities"))
    if not isinstance(value["reasoning"], str):
        raise AnswerError("The reasoning must be a string", received=value["reasoning"])
    entities, keys = [], _ENTITY_OF_SEVERAL if frame.several else _ENTITY
    for record, (start, end, alignment) in _placed(value["entities"], post_text, labels):
        if record.keys() != keys or type(record["visible"]) is not bool:
            names = "span, type, visible, picture and box" if frame.several else "span, type, visible and box"
            raise AnswerError(f"An entity must have exactly {names}", received=record)
        box = load_region(record, frame, reorder=reorder)
        if record["visible"] != (box is not None):
            raise AnswerError("`visible` and `box` contradict each other", received=record)
        entities.append(GroundedEntity(record["span"], start, end, record["type"], box, alignment))
    return Answer(value["reasoning"], tuple(entities))


def parse_task_answer(task: Task, text: str, post_text: str, labels: LabelSet, frame: Frame) -> Answer:
    """Parse an answer to a post of any task strictly.

    Args:
        task: What the post is annotated with.
        text: The output of the model: for `gmner` see `parse_answer`; for `mner` the `reasoning` and the `mentions`;
            for `grec` the `reasoning` and the `boxes`, which become a single entity, see `expression_entity`.
        post_text: The text of the post, or the expression.
        labels: The entity types.
        frame: The coordinate convention for the images of the post.

    Raises:
        AnswerError: The JSON has another form, a span is not in the text, a type is unknown, or a box is none.
    """
    if task == "gmner":
        return parse_answer(text, post_text, labels, frame)
    if task == "mner":
        reasoning, records = load_reasoned(text, "mentions")
        return Answer(reasoning, tuple(load_mentions(records, post_text, labels)))
    reasoning, records = load_reasoned(text, "boxes")
    return Answer(reasoning, (expression_entity(post_text, load_boxes(records, frame)),))
