"""`Post`: a text, its picture, and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gmner.data.html_formatters import FORMATTERS
from gmner.data.listing import counted, shortened
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A thing that the picture shows, whether the text names it or not.

    Attributes:
        name: What it is called; of something that is no named entity, what it is: `tree`.
        type: Its entity type; empty: it is no named entity.
        box: Pixels of the original image; the whole of it, where other things cover a part of it, too.
        attributes: Its look in words: `long hair`, `yellow dress`.
        covered: Share of it, 0 to 1, that lies behind nearer things.
        depth: Place in the order from far (0) to near.
    """

    name: str
    type: str
    box: Box
    attributes: tuple[str, ...] = ()
    covered: float = 0.0
    depth: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Post:
    """One post of a data set; in a notebook it shows itself with its picture and its gold annotation.

    Attributes:
        id: Identifier, unique in its split.
        text: The text; every offset is a character offset into it.
        image: Path of the picture, the picture itself, or None: the post has none or it was not found.
        entities: The gold mentions in text order; empty when the post names nothing. None: not annotated.
        more_images: Further pictures of the same post, in its order; boxes are in the frame of `image`, the first.
        grounded: Whether the data set says where entities are. False: `boxes` are empty because nobody drew any, not
            because nothing is shown, and only MNER can be scored.
        tokens: The data set's own tokens, or None where it has none.
        scene: Everything the picture shows, or None: not known (every real data set).
        slice: The name of the benchmark slice the post belongs to, or None.

    Raises:
        InputError: The id or the text is no string.
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
        """Refuse an id or a text that is no string."""
        if not isinstance(self.id, str):
            raise InputError("The id of a post is no string", received=self.id, accepted="a string")
        if not isinstance(self.text, str):
            raise InputError(f"The text of post {self.id!r} is no string", received=self.text, accepted="a string")

    @property
    def gold(self) -> tuple[GoldEntity, ...]:
        """The gold mentions; empty where the post is not annotated."""
        return self.entities or ()

    def __repr__(self) -> str:
        """Id, the first words, and what there is: short enough for a list of them."""
        gold = "not annotated" if self.entities is None else counted(len(self.entities), "entity", "entities")
        pictures = counted(int(self.image is not None) + len(self.more_images), "picture", "pictures")
        return f"Post({self.id!r}, {shortened(self.text)!r}, {gold}, {pictures})"

    def _repr_html_(self) -> str | None:
        return FORMATTERS.html(self)
