"""`Facts`: everything that a chain may say about a post; and the phrases that styles share."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from gmner.data.post import Post, SceneObject
from gmner.signatures.boxes import Box
from gmner.signatures.forms import as_entity
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity, GroundedEntity, Task, expression_entity
from gmner.signatures.schema import MAX_REASONING
from gmner.signatures.wire import Frame, dump


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a chain may say about a post: its gold annotation, and nothing beyond it.

    Attributes:
        entities: The gold mentions in text order.
        scene: Every named entity that the image shows. None: the data set does not say.
        frame: Writes boxes in the coordinate convention of the model family.
        text: The text of the post.
        image: The image of the post, or None.
        labels: The names of the entity types.
        more_images: Further images of the post, in order.
        task: What the post is annotated with. A chain about names alone (`mner`) says nothing about the images, and the
            single entity of an expression (`grec`) has no type but all boxes that the expression means.
    """

    entities: tuple[GoldEntity, ...]
    scene: tuple[SceneObject, ...] | None
    frame: Frame
    text: str = ""
    image: Path | Image.Image | None = None
    labels: tuple[str, ...] = COARSE.names
    more_images: tuple[Path | Image.Image, ...] = ()
    task: Task = "gmner"

    @classmethod
    def of(cls, post: Post, frame: Frame, labels: Iterable[str] = COARSE) -> Facts:
        """The facts of an annotated post; objects of the scene that are not named entities are left out."""
        scene = None if post.scene is None else tuple(thing for thing in post.scene if thing.type)
        image, *more = post.images or (None,)
        return cls(post.gold, scene, frame, post.text, image, tuple(labels), tuple(more), post.task)

    @property
    def answer(self) -> tuple[GroundedEntity, ...]:
        """The gold answer: the entities, each with its first box; an expression with all of its boxes."""
        if self.task == "grec":
            return (expression_entity(self.entities[0].span, self.targets),)
        return tuple(map(as_entity, self.entities))

    @property
    def targets(self) -> tuple[Box, ...]:
        """Everything that the expression of a GREC post means, in pixels of the original image, left to right.

        From left to right, as the signature asks for it, in the order of the images.
        """
        boxes = (box for entity in self.entities for box in entity.boxes)
        return tuple(sorted(boxes, key=lambda box: (box.picture, box.x1, box.y1)))

    @property
    def shown(self) -> list[GoldEntity]:
        """Gold mentions that the image shows."""
        return [e for e in self.entities if e.visible]

    @property
    def absent(self) -> list[GoldEntity]:
        """Gold mentions that the image does not show."""
        return [e for e in self.entities if not e.visible]

    @property
    def unnamed(self) -> list[SceneObject]:
        """Objects that the image shows but the text does not name; empty if the scene is unknown."""
        named = {e.span for e in self.entities}
        boxes = {box for e in self.entities for box in e.boxes}
        return [o for o in self.scene or () if o.name not in named and o.box not in boxes]

    def at(self, box: Box) -> str:
        """A box as the model writes it: `[12,3,45,60]`, or `[12,3,45,60] of picture 2` if there are several images."""
        return f"{dump(self.frame.encode(box))}{of_picture(box.picture) if self.frame.several else ''}"

    def region(self, entity: GoldEntity) -> str:
        """The first box of a shown entity, as the model writes it."""
        return self.at(entity.boxes[0])

    @property
    def places(self) -> str:
        """All boxes of `targets`, as the model writes them: `[12,3,45,60], [70,3,99,60]`; `none` if there are none."""
        return listed([self.at(box) for box in self.targets])

    def picture(self) -> str:
        """Everything that the images are known to show, with boxes, from left to right in each."""
        things = [(o.name, o.box) for o in self.scene] if self.scene is not None else self._gold_things()
        ordered = sorted(things, key=lambda thing: (thing[1].picture, thing[1].x1, thing[1].y1))
        unknown = "nothing of the kind" if self.task == "grec" else "none of the names"
        nothing = "nothing" if self.scene is not None else unknown
        return "; ".join(f"{name} {self.at(box)}" for name, box in ordered) or nothing

    def instead(self, entity: GoldEntity) -> str | None:
        """The name of an object of the entity's type that the image shows and the text does not name, or None."""
        return next((o.name for o in self.unnamed if o.type == entity.type), None)

    def _gold_things(self) -> list[tuple[str, Box]]:
        if self.task == "grec":
            return [(self.text, box) for box in self.targets]
        return list({(e.span, e.boxes[0]): None for e in self.shown})


def of_picture(number: int) -> str:
    """The words that name the image of a box in a chain; they follow the coordinates."""
    return f" of picture {number}"


@dataclass(frozen=True, slots=True)
class Draft:
    """The result of a style.

    Attributes:
        text: The chain.
        author: Who wrote it: `template`, `llm` or `mllm`.
        problem: Why the style had to fall back on this chain; empty if it did not.
    """

    text: str
    author: str = "template"
    problem: str = ""


@runtime_checkable
class ModelWritten(Protocol):
    """A style whose chains are written by a model, several at the same time."""

    author: str


Style = Callable[[Facts, random.Random], "str | Draft"]
"""A style of reasoning: writes a chain from the facts of a post; the generator varies its wording."""


def listed(names: Iterable[str]) -> str:
    """`A, B, A`; `none` if there are none."""
    return ", ".join(names) or "none"


def typed(entities: Sequence[GoldEntity]) -> str:
    """`A (PER), B (ORG)`, a name as often as it is mentioned; `none` if there are none."""
    return listed([f"{e.span} ({e.type})" for e in entities])


def placed(entities: Sequence[GoldEntity], facts: Facts) -> str:
    """`A [12,3,45,60], B [...]` for shown entities; `none` if there are none."""
    return listed([f"{e.span} {facts.region(e)}" for e in entities])


def conclusion(facts: Facts) -> str:
    """`So 2 entities.`: the number of mentions in the answer, with the same words at the end of every style.

    About an expression, the number of boxes: `So 2 boxes.`. From this sentence, a small model learns when to end its
    list, and that the list of a post without names is empty.
    """
    one, many, count = "entity", "entities", len(facts.entities)
    if facts.task == "grec":
        one, many, count = "box", "boxes", len(facts.targets)
    return f"So {count or 'no'} {one if count == 1 else many}."


def allowed_signs(text: str) -> str:
    """Convert a text to the characters that the answer's schema allows in a chain.

    Backslashes become slashes, and runs of white space and control characters become one space.
    """
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text.replace("\\", "/")).strip()


def write_chain(style: Style, facts: Facts, rng: random.Random, limit: int = MAX_REASONING) -> str:
    """Write a chain in allowed characters; if it is longer than `limit`, it is cut after a sentence.

    Args:
        style: One of `TEMPLATES`, or your own.
        facts: The post's facts.
        rng: Source of randomness for the wording.
        limit: Maximum number of characters; use that of the program's answers.
    """
    text = draft_chain(style, facts, rng).text
    return text if len(text) <= limit else text[: text.rfind(". ", 0, limit) + 1]


def draft_chain(style: Style, facts: Facts, rng: random.Random) -> Draft:
    """The draft of a style in allowed characters, of any length."""
    written = style(facts, rng)
    draft = written if isinstance(written, Draft) else Draft(written)
    return replace(draft, text=allowed_signs(draft.text))
