"""`GroundedPost`: the answer of a program to one post, which notebooks display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from PIL import Image

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.boxes import Box, Size
from gmner.signatures.mentions import GroundedEntity


class GroundedPost(dspy.Prediction):
    """The prediction for one post: `entities` (list of GroundedEntity) and `reasoning`; notebooks display it as HTML.

    `thinking` is what a thinking model wrote before its answer; empty for others.

    Copies (`copy`, `without`, `with_inputs`, `copy.deepcopy`, pickle) keep the text and the image of the post.

    Args:
        base: A prediction or a mapping of fields to copy.
        text: The text of the post; None: that of `base`.
        image: Its image; None: that of `base`.
        size: (width, height) in pixels of the original image, if `image` was scaled down; None: that of `image`.
        more_images: Further images of the post, each with the size of its original; None: those of `base`.
        grounded: Whether the answer says what the images show; False for names alone; None: as `base`.
        **fields: The fields `entities` and `reasoning`, and `thinking` if there is any.
    """

    def __init__(
        self,
        base: Mapping[str, Any] | dspy.Example | None = None,
        *,
        text: str | None = None,
        image: Image.Image | None = None,
        size: Size | None = None,
        more_images: Sequence[tuple[Image.Image, Size]] | None = None,
        grounded: bool | None = None,
        **fields: Any,
    ) -> None:
        source = base if isinstance(base, GroundedPost) else None
        copied = dict(base.items()) if base is not None and source is None else base
        super().__init__(copied, **{n: list(v) if n == "entities" else v for n, v in fields.items()})
        self._text: str | None = text if text is not None or source is None else source._text
        self._image: Image.Image | None = image if image is not None or source is None else source._image
        self._size: Size | None = size if size is not None or source is None else source._size
        more = more_images if more_images is not None or source is None else source._more_images
        self._more_images: tuple[tuple[Image.Image, Size], ...] = tuple(more or ())
        given = grounded if grounded is not None or source is None else source._grounded
        self._grounded: bool = given is not False

    @property
    def thinking(self) -> str:
        """What the model thought before its answer; empty if it does not think."""
        return self.get("thinking") or ""

    def __repr__(self) -> str:
        """One line per entity, with its boxes, and its confidence if it has one."""
        lines = [
            f"  {e.span!r} [{e.start}:{e.end}] {e.type}{_region_text(e) if self._grounded else ''}{_confidence_text(e)}"
            for e in self.get("entities") or ()
        ]
        return "\n".join([f"GroundedPost({self._text!r}", *(lines or ["  no entities"])]) + ")"

    def inputs(self) -> GroundedPost:
        """The fields that `with_inputs` selected."""
        return self._with_post(super().inputs())

    def labels(self) -> GroundedPost:
        """The other fields."""
        return self._with_post(super().labels())

    def _with_post(self, fields: dspy.Example) -> GroundedPost:
        """Some fields with the post of this answer."""
        return type(self)(
            fields, text=self._text, image=self._image, size=self._size,
            more_images=self._more_images, grounded=self._grounded,
        )  # fmt: skip

    def as_pair(self) -> tuple[Post, Prediction]:
        """The post and its prediction as values, both with the id `post`; its images have their original size."""
        image = None if self._image is None else _resized(self._image, self._size)
        more = tuple(_resized(further, size) for further, size in self._more_images)
        post = Post("post", self._text or "", image, more_images=more, grounded=self._grounded)
        entities = tuple(self.get("entities") or ())
        return post, Prediction("post", post.text, self.get("reasoning") or "", entities, thinking=self.thinking)

    def _repr_html_(self) -> str:
        from gmner.data.pages.notebook import entity_html  # imports a template engine, which only notebooks need

        post, prediction = self.as_pair()
        entities, reasoning, thinking = prediction.entities, prediction.reasoning, prediction.thinking
        return entity_html(
            post.text, post.image, entities, reasoning, post.more_images, thinking, grounded=post.grounded
        )


def _resized(image: Image.Image, size: Size | None) -> Image.Image:
    return image if size in (None, image.size) else image.resize(size)


def _region_text(entity: GroundedEntity) -> str:
    return f" {' and '.join(map(_box_text, entity.boxes)) or 'not shown'}"


def _box_text(box: Box) -> str:
    place = "at ({})".format(", ".join(f"{v:.0f}" for v in box.as_tuple()))
    return place if box.picture == 1 else f"in image {box.picture} {place}"


def _confidence_text(entity: GroundedEntity) -> str:
    return "" if entity.confidence is None else f" ({entity.confidence:.0%})"
