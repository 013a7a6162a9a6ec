"""Rows of span, type and boxes, as other systems write them, become predictions: spans are located in the text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.readers.escapes import EscapedText
from gmner.data.readers.image_folder import without_suffix
from gmner.signatures.alignment import Alignment, align
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GroundedEntity

UNREADABLE = Box(-1.0, -1.0, -1.0, -1.0)
"""Placeholder for an unreadable or unpublished box of a prediction: outside every image, so that it matches no gold.

It must never be a gold box, because its IoU with itself is 1. See `gold_box`.
"""

Triple = tuple[str, str, tuple[Box, ...]]
"""Span, type and boxes in pixels of the original image; without boxes, the entity is not shown."""


def placed_prediction(post: Post, triples: Sequence[Triple], *, ordered: bool = True) -> Prediction:
    """The prediction for a post with these entities.

    Spans are located in the text, see `place_spans`. Further boxes become `more_boxes`.
    """
    places = place_spans([span for span, _, _ in triples], post.text, ordered=ordered)
    entities = []
    for (words, kind, boxes), (start, end, how) in zip(triples, places, strict=True):
        span = words if how is Alignment.MISSING else post.text[start:end]
        box, more = (boxes[0], boxes[1:]) if boxes else (None, ())
        entities.append(GroundedEntity(span, start, end, kind, box, how, more))
    return Prediction(post.id, post.text, "", tuple(entities))


def place_spans(spans: Sequence[str], text: str, *, ordered: bool = True) -> list[tuple[int, int, Alignment]]:
    """The positions of spans in the text.

    Spans are located from left to right, see `align`. An unescaped span (`&` for `&amp`) is located in the original
    text.

    Args:
        spans: The spans.
        text: The text.
        ordered: Whether the spans are in the order of the text. If not, longer spans are located before shorter ones,
            so that the result does not depend on their order.
    """
    if not ordered:
        longest_first = sorted(range(len(spans)), key=lambda index: -len(spans[index]))
        found = place_spans([spans[index] for index in longest_first], text)
        return [place for _, place in sorted(zip(longest_first, found, strict=True))]
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
    except (InputError, OverflowError):
        return UNREADABLE


def gold_box(numbers: object, where: str) -> Box:
    """The box of a list of four numbers in gold annotations.

    Raises:
        DataError: Something else.
    """
    box = box_or_unreadable(numbers)
    if box == UNREADABLE:
        accepted = "[x1, y1, x2, y2] in pixels, x1 <= x2 and y1 <= y2"
        raise DataError(f"{where}: invalid box", received=numbers, accepted=accepted)
    return box


class PostsByImage:
    """Finds posts by their id, or else by the name of their image.

    Args:
        posts: The posts.
    """

    def __init__(self, posts: Sequence[Post]) -> None:
        self._by_id = {post.id: post for post in posts}
        self._by_image: dict[str, list[Post]] = {}
        for post in posts:
            if isinstance(post.image, Path):
                self._by_image.setdefault(image_key(post.image), []).append(post)

    def find(self, image: str) -> Post | None:
        """The post with this id or image; None if there is none.

        Args:
            image: A name as `image_key` returns it.

        Raises:
            DataError: Several posts have this image.
        """
        post, sharing = self._by_id.get(image), self._by_image.get(image, [])
        if post is None and len(sharing) > 1:
            ids = ", ".join(other.id for other in sharing[:3])
            remedy = "Use the names of the images as the ids of the posts"
            raise DataError(f"Several posts have the same image, such as {ids}", received=image, remedy=remedy)
        return post or next(iter(sharing), None)

    @property
    def example(self) -> str:
        """The id of the first post, for error messages."""
        return next(iter(self._by_id), "none")


def image_key(name: str | PurePath) -> str:
    """The name of an image file without its folder and its suffix."""
    return without_suffix(PurePath(name).name)
