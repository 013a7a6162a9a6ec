"""Conversion of posts to and from plain data, shared by JSONL files and tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from gmner.data.images.opening import local_path
from gmner.data.oddities import MissingImages, Oddity
from gmner.data.post import Post, SceneObject
from gmner.data.prediction import (
    checked_box,
    checked_object,
    checked_place,
    checked_string,
    in_picture,
    in_pictures,
)
from gmner.signatures.errors import DataError, GmnerError, ImageError, InputError
from gmner.signatures.mentions import GoldEntity

_SCENE_KEYS = {"attributes", "covered", "depth", "picture"}
_ENTITY_KEYS = {"span", "start", "end", "type", "boxes"}


def post_record(post: Post) -> dict[str, Any]:
    """Convert a post without its images to JSON data; unknown values are None.

    `{"id", "text", "entities": [{"span", "start", "end", "type", "boxes"}], "tokens", "scene": [{"name", "type",
    "box"}], "slice", "grounded"}`. Offsets are in characters, boxes `[x1, y1, x2, y2]` in pixels of the original image.
    If not all boxes are in the first image, `pictures` of an entity has the number of the image of each box, counted
    from 1, and `picture` of an object in the scene that of its box.
    """
    return {
        "id": post.id,
        "text": post.text,
        "entities": None if post.entities is None else [_entity_record(entity) for entity in post.entities],
        "tokens": None if post.tokens is None else list(post.tokens),
        "scene": None if post.scene is None else [_object_record(thing) for thing in post.scene],
        "slice": post.slice,
        "grounded": post.grounded,
    }


def post_with_images(post: Post, paths: Sequence[str]) -> dict[str, Any]:
    """Convert a post to a line of JSONL, see `gmner.read_posts`; unknown values have no key.

    Args:
        post: The post.
        paths: The path of each of its images, in order, as `read_posts` will look for it.
    """
    image, *more_images = paths if post.image is not None else [None, *paths]
    record: dict[str, Any] = {"id": post.id, "text": post.text, "image": image}
    record |= {"more_images": more_images} if more_images else {}
    record |= {key: value for key, value in post_record(post).items() if value is not None and key != "grounded"}
    return record if post.grounded else {**record, "grounded": False}


def record_post(
    record: Mapping[str, Any], image: Path | Image.Image | None, more_images: tuple[Path | Image.Image, ...]
) -> Post:
    """Create a post from a record, see `post_record`; all keys except `id` and `text` may be missing or None.

    Raises:
        DataError: A value is invalid, or offsets do not match their span.
    """
    text, slice_ = checked_string(record.get("text"), "text"), record.get("slice")
    return Post(
        id=checked_string(record.get("id"), "id"),
        text=text,
        image=image,
        entities=each(record.get("entities"), "entities", lambda item: _gold(item, text)),
        tokens=each(record.get("tokens"), "tokens", lambda item: checked_string(item, "token")),
        scene=each(record.get("scene"), "scene", _scene_object),
        slice=None if slice_ is None else checked_string(slice_, "slice"),
        more_images=more_images,
        grounded=_grounded(record.get("grounded")),
    )


def each(value: object, name: str, parse: Callable[[object], Any]) -> tuple[Any, ...] | None:
    """Parse each item of a list; None stays None.

    Raises:
        DataError: The value is not a list.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise DataError(f"`{name}` must be a list", received=value)
    return tuple(parse(item) for item in value)


def checked_path(value: object, folder: Path | None) -> Path:
    """Check and return the path of an image, relative to `folder` unless that is None. The file may be missing.

    Raises:
        DataError: The value is not a string, is a URL or a data URI, or leads out of `folder`.
    """
    name = checked_string(value, "image")
    if name[:5].lower() == "data:":
        raise DataError("An image must be a file path, not a data URI", received=name[:20], accepted="a file path")
    with image_errors_as_data_errors():
        local_path(name, folder)
    return Path(name) if folder is None else folder / name


@contextmanager
def image_errors_as_data_errors() -> Iterator[None]:
    """Convert an `ImageError` about a path in a record to a `DataError`."""
    try:
        yield
    except ImageError as error:
        raise DataError(error.fact, received=error.received, accepted=error.accepted, remedy=error.remedy) from error


@contextmanager
def located(where: str) -> Iterator[None]:
    """Prefix the message of every `GmnerError` raised in the block with a location; its class stays the same."""
    try:
        yield
    except GmnerError as error:
        fact = f"{where}: {error.fact}"
        raise type(error)(fact, received=error.received, accepted=error.accepted, remedy=error.remedy) from error


def missing_pictures(post: Post, where: str, missing_images: MissingImages) -> list[Oddity]:
    """Report the missing images of a post as oddities. The post keeps their paths.

    Args:
        post: The post.
        where: Location of the post, for the oddities.
        missing_images: `warn` or `error`.

    Raises:
        InputError: `missing_images` is neither of the two.
        DataError: An image is missing, and `missing_images` is `error`.
    """
    if missing_images not in ("warn", "error"):
        raise InputError("missing_images must be 'warn' or 'error'", received=missing_images)
    # Path.is_file raises an error if a name is too long.
    missing = [image for image in post.images if isinstance(image, Path) and not os.path.isfile(image)]
    if missing and missing_images == "error":
        raise DataError(f"{where}: an image is missing", received=str(missing[0]))
    return [
        Oddity("missing_image", where, f"the image {path} is missing; the post keeps its path", post.id)
        for path in missing
    ]


def _grounded(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, bool):
        raise DataError("`grounded` must be true or false", received=value)
    return value


def _gold(record: object, text: str) -> GoldEntity:
    fields = checked_object(record, _ENTITY_KEYS, "an entity of a post", {"pictures"})
    boxes = in_pictures(each(fields["boxes"], "boxes", checked_box) or (), fields.get("pictures"), "pictures")
    return GoldEntity(*checked_place(fields, text), checked_string(fields["type"], "type"), boxes)


def _scene_object(record: object) -> SceneObject:
    fields = checked_object(record, {"name", "type", "box"}, "an object of a scene", _SCENE_KEYS)
    name, kind = (checked_string(fields[key], key) for key in ("name", "type"))
    attributes = each(fields.get("attributes"), "attributes", partial(checked_string, name="an attribute")) or ()
    covered, depth = fields.get("covered") or 0.0, fields.get("depth") or 0
    if not isinstance(covered, int | float) or isinstance(covered, bool) or not 0 <= covered <= 1:
        raise DataError("`covered` must be a number from 0 to 1", received=covered)
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 0:
        raise DataError("`depth` must be an integer of at least 0", received=depth, accepted="0 (farthest), 1, 2")
    picture = fields.get("picture")
    box = in_picture(checked_box(fields["box"]), 1 if picture is None else picture)
    return SceneObject(name, kind, box, attributes, float(covered), depth)


def _entity_record(entity: GoldEntity) -> dict[str, Any]:
    record: dict[str, Any] = {
        "span": entity.span,
        "start": entity.start,
        "end": entity.end,
        "type": entity.type,
        "boxes": [list(box.as_tuple()) for box in entity.boxes],
    }
    elsewhere = any(box.picture > 1 for box in entity.boxes)
    return record | ({"pictures": [box.picture for box in entity.boxes]} if elsewhere else {})


def _object_record(thing: SceneObject) -> dict[str, Any]:
    required: dict[str, Any] = {"name": thing.name, "type": thing.type, "box": list(thing.box.as_tuple())}
    optional: dict[str, Any] = {"attributes": list(thing.attributes), "covered": thing.covered, "depth": thing.depth}
    optional |= {"picture": thing.box.picture} if thing.box.picture > 1 else {}
    return required | {key: value for key, value in optional.items() if value}
