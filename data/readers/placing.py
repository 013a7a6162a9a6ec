"""Rows of span, type and boxes, as other systems write them, become predictions: spans are located in the text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.readers.escapes import EscapedText
from gmner.signatures.alignment import Alignment, align
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GroundedEntity

UNREADABLE = Box(-1.0, -1.0, -1.0, -1.0)
"""Placeholder for an unreadable or unpublished box: outside every image, without area, so that it matches no gold."""

Triple = tuple[str, str, tuple[Box, ...]]
"""Span, type and boxes in pixels of the original image; without boxes, the entity is not shown."""


def placed_prediction(post: Post, triples: Sequence[Triple]) -> Prediction:
    """The prediction for a post with these entities.

    Spans are located in the text from left to right. An unescaped span (`&` for `&amp`) is located in the original
    text. Further boxes become `more_boxes`.
    """
    places = place_spans([span for span, _, _ in triples], post.text)
    entities = []
    for (words, kind, boxes), (start, end, how) in zip(triples, places, strict=True):
        span = words if how is Alignment.MISSING else post.text[start:end]
        box, more = (boxes[0], boxes[1:]) if boxes else (None, ())
        entities.append(GroundedEntity(span, start, end, kind, box, how, more))
    return Prediction(post.id, post.text, "", tuple(entities))


def place_spans(spans: Sequence[str], text: str) -> list[tuple[int, int, Alignment]]:
    """The positions of spans in the text. A span that is not in the text may be there with escaped characters."""
    places = align(spans, text)
    if "&" not in text:
        return places
    escaped, taken = EscapedText(text), {place[:2] for place in places}
    # No position becomes free again, so the search for a repeated span continues where it stopped.
    searches: dict[str, Iterator[tuple[int, int]]] = {}
    for index, (span, (_, _, how)) in enumerate(zip(spans, places, strict=True)):
        if how is not Alignment.MISSING:
            continue
        search = searches.get(span) or searches.setdefault(span, escaped.places(span))
        place = next((place for place in search if place not in taken), None)
        if place is not None:
            taken.add(place)
            places[index] = (*place, Alignment.EXACT)
    return places


def box_or_unreadable(numbers: object) -> Box:
    """The box of a list of four numbers, or `UNREADABLE` if the value is anything else."""
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(type(n) in (int, float) for n in numbers):
        return UNREADABLE
    try:
        return Box(*numbers)
    except InputError:
        return UNREADABLE


def posts_by_image(posts: Sequence[Post]) -> dict[str, Post]:
    """The posts by the name of their image without its extension, and by their id, which has precedence."""
    images = {post.image.stem: post for post in posts if isinstance(post.image, Path)}
    return {**images, **{post.id: post for post in posts}}


def image_key(name: str) -> str:
    """The name of an image file without its extension."""
    return PurePath(name).stem
