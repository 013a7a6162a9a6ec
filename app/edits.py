"""Corrections of one post as the page sends them: checked, and turned into gold entities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from gmner.data.images.opening import image_size
from gmner.data.post import Post
from gmner.signatures.boxes import Box, Size
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.labels import LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity, unique_mentions
from gmner.signatures.segmentation import is_cut_in_cluster, is_space

_LEAST_SIDE = 1.0
"""Shortest side of a box in pixels of the original image."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An entity while it is corrected.

    Attributes:
        entity: Its words, type and boxes; boxes are pixels of the original image.
        confidence: Confidence of the model, 0 to 1; None if unknown.
    """

    entity: GoldEntity
    confidence: float | None = None


def drafts_of(entities: Iterable[GroundedEntity | GoldEntity]) -> list[Draft]:
    """The entities of an answer or of a gold annotation, to be corrected.

    Entities that are not in the text and repetitions of the same words are left out: nobody could mark them.
    """
    return [_draft(entity) for entity in unique_mentions(entity for entity in entities if entity.start >= 0)]


def _draft(entity: GroundedEntity | GoldEntity) -> Draft:
    if isinstance(entity, GoldEntity):
        return Draft(entity)
    return Draft(GoldEntity(entity.span, *entity.key, entity.type, entity.boxes), entity.confidence)


def draft_data(draft: Draft) -> dict[str, Any]:
    """A draft as JSON data for the page, see `corrected`."""
    entity = draft.entity
    boxes = [{"picture": box.picture, "box": list(box.as_tuple())} for box in entity.boxes]
    data: dict[str, Any] = {"start": entity.start, "end": entity.end, "type": entity.type, "boxes": boxes}
    return data if draft.confidence is None else {**data, "confidence": draft.confidence}


def corrected(post: Post, entities: object, labels: LabelSet) -> Post:
    """The post with corrected gold entities, in text order.

    Args:
        post: The post.
        entities: `[{"start", "end", "type", "boxes": [{"picture", "box": [x1, y1, x2, y2]}]}]`: character offsets (code
            points) of the text, and boxes in pixels of the original image. Other keys are ignored. What comes from a
            page is not trusted.
        labels: The entity types that may be used.

    Returns:
        The post; boxes are clipped to their image.

    Raises:
        InputError: The data has another form, words are not in the text or are marked twice, a type is unknown, or a
            box is outside of its image or too small.
    """
    if not isinstance(entities, list):
        raise InputError("The corrections must be a list of entities", received=entities)
    sizes = _sizes(post)
    found = [_entity(item, post.text, labels, sizes) for item in entities]
    found.sort(key=lambda entity: entity.key)
    for before, entity in pairwise(found):
        if before.key == entity.key:
            remedy = "Remove one of the two, or change its words"
            raise InputError("Two entities have the same words", received=entity.span, remedy=remedy)
    grounded = post.grounded or any(entity.boxes for entity in found)
    return replace(post, entities=tuple(found), grounded=grounded)


def _sizes(post: Post) -> list[Size | None]:
    """Width and height of each image in pixels; None if it cannot be opened."""
    sizes = list[Size | None]()
    for image in post.images:
        try:
            sizes.append(image_size(image))
        except ImageError:
            sizes.append(None)
    return sizes


def _entity(item: object, text: str, labels: LabelSet, sizes: Sequence[Size | None]) -> GoldEntity:
    if not isinstance(item, Mapping):
        raise InputError("An entity must be an object", received=item, accepted="start, end, type, boxes")
    start, end, kind, boxes = (item.get(key) for key in ("start", "end", "type", "boxes"))
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise InputError("The words of an entity are not in the text", received=(start, end))
    span = text[start:end]
    cut = is_cut_in_cluster(text, start) or is_cut_in_cluster(text, end)
    if cut or is_space(span[0]) or is_space(span[-1]):
        accepted = "whole characters, without a space at the beginning or the end"
        raise InputError("An entity does not consist of words", received=span, accepted=accepted)
    if not isinstance(kind, str) or kind not in labels:
        raise InputError(f"The type of {span!r} is unknown", received=kind, accepted=", ".join(labels.names))
    if not isinstance(boxes, list):
        raise InputError(f"The boxes of {span!r} must be a list", received=boxes)
    return GoldEntity(span, start, end, kind, tuple(_box(box, span, sizes) for box in boxes))


def _box(item: object, span: str, sizes: Sequence[Size | None]) -> Box:
    picture, corners = (item.get("picture"), item.get("box")) if isinstance(item, Mapping) else (None, None)
    if type(picture) is not int or not 1 <= picture <= len(sizes):
        accepted = f"1 to {len(sizes)}" if sizes else "none: the post has no image"
        raise InputError(f"A box of {span!r} is in an image that the post does not have", received=picture,
                         accepted=accepted)  # fmt: skip
    if not isinstance(corners, list) or len(corners) != 4 or not all(type(value) in (int, float) for value in corners):
        raise InputError(f"A box of {span!r} must be four numbers", received=corners, accepted="[x1, y1, x2, y2]")
    try:
        box = Box(*(float(value) for value in corners), picture=picture)
    except OverflowError as error:
        raise InputError(f"A box of {span!r} is too large", received=corners) from error
    size = sizes[picture - 1]
    if size is None or box.inside(size):
        inside = box
    else:
        width, height = size
        xs, ys = ([min(max(value, 0.0), float(limit)) for value in pair]
                  for pair, limit in (((box.x1, box.x2), width), ((box.y1, box.y2), height)))  # fmt: skip
        inside = Box(xs[0], ys[0], xs[1], ys[1], picture=picture)
    if min(inside.x2 - inside.x1, inside.y2 - inside.y1) < _LEAST_SIDE:
        fact = f"A box of {span!r} is outside of its image or smaller than a pixel"
        raise InputError(fact, received=corners, remedy="Draw it again")
    return inside
