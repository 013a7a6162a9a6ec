"""`Question`: something to find in an image whose place is known; drawn shapes, or the entities of annotated posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path

from PIL import Image

from gmner.data.images.opening import open_image
from gmner.data.post import Post
from gmner.programs.prompt_images import PostPicture
from gmner.signatures.boxes import Box, Size
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, Mention

_MOST_POSTED = 48
_MOST_ABSENT = 12


@dataclass(frozen=True, slots=True)
class Question:
    """Something to find in an image.

    Attributes:
        picture: Upright RGB image.
        text: Text of the post.
        mention: The part of the text that names what to find.
        boxes: Where the image shows it, pixels of the image; empty: the image does not show it.
        drawn: Whether it is a drawn shape, and not an entity of a post.
    """

    picture: Image.Image = field(repr=False)
    text: str
    mention: Mention
    boxes: tuple[Box, ...] = ()
    drawn: bool = False

    @property
    def size(self) -> Size:
        """(width, height) of the image in pixels."""
        return self.picture.size

    def inputs(self) -> dict[str, object]:
        """The inputs of the signature `GroundMention`."""
        return {"text": self.text, "image": PostPicture(self.picture), "mention": self.mention}


def questions_of(posts: Sequence[Post]) -> list[Question]:
    """Questions about the entities of annotated posts: at most 48 that are shown, and at most 12 that are not.

    Every post gives its first entity before any post gives its second one. Of several images of a post, only the first
    is used: what only another one shows is not shown.

    Args:
        posts: Annotated posts. Those without image, without annotated regions or with an error in the image are left
            out.

    Raises:
        InputError: No entity has a box.
        ImageError: An image cannot be opened.
    """
    ordered = [
        entry
        for entry in chain.from_iterable(zip_longest(*(_entries(post) for post in posts if post.grounded)))
        if entry is not None
    ]
    shown = [entry for entry in ordered if entry[3]][:_MOST_POSTED]
    hidden = [entry for entry in ordered if not entry[3]][:_MOST_ABSENT]
    if not shown:
        raise InputError(
            "No entity of the posts has a box in an image",
            received=f"{len(posts)} posts",
            accepted="annotated posts with images and boxes",
        )
    opened: dict[int, Image.Image] = {}
    questions = []
    for post, image, entity, boxes in (*shown, *hidden):
        picture = opened.setdefault(id(post), opened.get(id(post)) or open_image(image))
        mention = Mention(entity.span, entity.start, entity.end, entity.type)
        questions.append(Question(picture, post.text, mention, boxes))
    return questions


def _entries(post: Post) -> list[tuple[Post, Path | Image.Image, GoldEntity, tuple[Box, ...]]]:
    """The entities of a post with an image, with their boxes in its first image."""
    if post.image is None:
        return []
    first = [tuple(box for box in entity.boxes if box.picture == 1) for entity in post.gold]
    return [(post, post.image, entity, boxes) for entity, boxes in zip(post.gold, first, strict=True)]
