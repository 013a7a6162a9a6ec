"""`Post`: a text with its image and annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from PIL import Image

from gmner.data.html_formatters import FORMATTERS
from gmner.data.listing import counted, shortened
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import EXPRESSION, GoldEntity, Task


@dataclass(frozen=True, slots=True)
class SceneObject:
    """An object in an image, whether the text mentions it or not.

    Attributes:
        name: Name of the entity; for an object that is not a named entity, a common noun such as `tree`.
        type: Entity type; empty if the object is not a named entity.
        box: Pixels of the original image; includes the parts that other objects cover.
        attributes: Its appearance in words, such as `long hair`, `yellow dress`.
        covered: Share of the object, 0 to 1, that nearer objects cover.
        depth: Position in the drawing order, from far (0) to near.
    """

    name: str
    type: str
    box: Box
    attributes: tuple[str, ...] = ()
    covered: float = 0.0
    depth: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Post:
    """One post of a data set. Notebooks display it with its image and gold annotation.

    Attributes:
        id: Identifier, unique in its split.
        text: The text; all offsets are character offsets into it.
        image: Path of the image, also as a string, or a PIL image; None if the post has no image or it is missing.
        entities: The gold mentions in text order; empty if the post mentions no entity, None if it is not annotated.
        more_images: Further images of the post, in order. The `picture` of a box is its image's number in `images`.
        grounded: Whether the data set annotates regions. If False, `boxes` are empty because none were drawn, and only
            MNER can be scored.
        tokens: The tokens of the data set; None if it has none.
        scene: All objects in the image; None if unknown, as in every real data set.
        slice: Name of the benchmark slice of the post, or None.

    Raises:
        InputError: The id or the text is not a string, or an image is neither a path nor a PIL image.
    """

    id: str
    text: str
    image: Path | Image.Image | None = None
    entities: tuple[GoldEntity, ...] | None = None
    tokens: tuple[str, ...] | None = None
    scene: tuple[SceneObject, ...] | None = None
    slice: str | None = None
    more_images: tuple[Path | Image.Image, ...] = ()
    grounded: bool = True

    def __post_init__(self) -> None:
        """Check the types of id, text and images; paths become `Path`."""
        if not isinstance(self.id, str):
            raise InputError("id of a post must be a string", received=self.id, accepted="a string")
        if not isinstance(self.text, str):
            raise InputError(f"text of post {self.id!r} must be a string", received=self.text, accepted="a string")
        if self.image is not None:
            object.__setattr__(self, "image", _picture(self.image, self.id))
        object.__setattr__(self, "more_images", _pictures(self.more_images, self.id))

    @property
    def images(self) -> tuple[Path | Image.Image, ...]:
        """All images of the post, in order. The first one has the number 1, see `Box.picture`."""
        return self.more_images if self.image is None else (self.image, *self.more_images)

    @property
    def gold(self) -> tuple[GoldEntity, ...]:
        """The gold mentions; empty if the post is not annotated."""
        return self.entities or ()

    @property
    def task(self) -> Task:
        """What the post is annotated with, and so what a program learns from it.

        `grec`: the regions of a referring expression, which is the whole text, see `gmner.read_grec`. `mner`: names and
        types without regions. `gmner`: names, types and regions.
        """
        if [(entity.span, entity.type) for entity in self.gold] == [(self.text, EXPRESSION)]:
            return "grec"
        return "gmner" if self.grounded else "mner"

    def __repr__(self) -> str:
        """Id, first words, and the numbers of entities and images; short enough for a list of posts."""
        gold = "not annotated" if self.entities is None else counted(len(self.entities), "entity", "entities")
        images = counted(len(self.images), "image", "images")
        return f"Post({self.id!r}, {shortened(self.text)!r}, {gold}, {images})"

    def _repr_html_(self) -> str | None:
        return FORMATTERS.html(self)


def _pictures(images: object, post: str) -> tuple[Path | Image.Image, ...]:
    if isinstance(images, (str, bytes)) or not isinstance(images, Sequence):
        fact = f"more_images of post {post!r} must be several images"
        raise InputError(fact, received=images, accepted="a tuple of paths or PIL images")
    return tuple(_picture(image, post) for image in images)


def _picture(image: object, post: str) -> Path | Image.Image:
    if isinstance(image, (Path, Image.Image)):
        return image
    if isinstance(image, (str, PathLike)):
        return Path(image)
    raise InputError(f"An image of post {post!r} has the wrong type", received=image, accepted="a path or a PIL image")
