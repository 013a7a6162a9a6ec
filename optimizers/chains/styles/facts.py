"""`Facts`: the facts about a post that a chain may state, and phrases that the styles share."""

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
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import MAX_REASONING
from gmner.signatures.wire import Frame, dump


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about a post that a chain may state: its gold annotations.

    Attributes:
        entities: The gold mentions in text order.
        scene: Every named entity that the image shows; None if the data set does not annotate this.
        frame: Writes boxes in the coordinate convention of the model family.
        text: The text of the post.
        image: Its image; None: it has none.
        labels: The names of the entity types.
    """

    entities: tuple[GoldEntity, ...]
    scene: tuple[SceneObject, ...] | None
    frame: Frame
    text: str = ""
    image: Path | Image.Image | None = None
    labels: tuple[str, ...] = COARSE.names

    @classmethod
    def of(cls, post: Post, frame: Frame, labels: Iterable[str] = COARSE) -> Facts:
        """The facts about an annotated post, without objects that are not named entities; `frame` writes its boxes."""
        scene = None if post.scene is None else tuple(thing for thing in post.scene if thing.type)
        return cls(post.gold, scene, frame, post.text, post.image, tuple(labels))

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
        """Entities that the image shows but the text does not mention; empty if the scene is unknown."""
        spans = {e.span for e in self.entities}
        boxes = {box for e in self.entities for box in e.boxes}
        return [o for o in self.scene or () if o.name not in spans and o.box not in boxes]

    def at(self, box: Box) -> str:
        """A box as the model writes it: `[12,3,45,60]`."""
        return dump(self.frame.encode(box))

    def region(self, entity: GoldEntity) -> str:
        """The first box of a shown entity, as the model writes it."""
        return self.at(entity.boxes[0])

    def picture(self) -> str:
        """Every entity that the image is known to show, with boxes, from left to right."""
        objects = [(o.name, o.box) for o in self.scene] if self.scene is not None else self._gold_objects()
        ordered = sorted(objects, key=lambda item: (item[1].x1, item[1].y1))
        nothing = "nothing" if self.scene is not None else "none of the names"
        return "; ".join(f"{name} {self.at(box)}" for name, box in ordered) or nothing

    def instead(self, entity: GoldEntity) -> str | None:
        """An unmentioned entity in the image that has the type of an absent entity, if one is known."""
        return next((o.name for o in self.unnamed if o.type == entity.type), None)

    def _gold_objects(self) -> list[tuple[str, Box]]:
        return list({(e.span, e.boxes[0]): None for e in self.shown})


@dataclass(frozen=True, slots=True)
class Draft:
    """The result of a style.

    Attributes:
        text: The chain.
        author: The kind of its author: `template`, `llm` or `mllm`.
        problem: Why the chain of a model was rejected, so that a template's chain replaces it; empty: it was not.
    """

    text: str
    author: str = "template"
    problem: str = ""


@runtime_checkable
class ModelWritten(Protocol):
    """A style whose chains are written by a model, several in parallel."""

    author: str


Style = Callable[[Facts, random.Random], "str | Draft"]
"""A reasoning style: writes a chain about the facts of a post; the generator varies the wording."""


def listed(names: Sequence[str]) -> str:
    """`A, B` without repetitions; `none` if the list is empty."""
    return ", ".join(dict.fromkeys(names)) or "none"


def typed(entities: Sequence[GoldEntity]) -> str:
    """`A (PER), B (ORG)`; `none` if the list is empty."""
    return listed([f"{e.span} ({e.type})" for e in entities])


def placed(entities: Sequence[GoldEntity], facts: Facts) -> str:
    """`A [12,3,45,60], B [...]` for shown entities; `none` if the list is empty."""
    return listed([f"{e.span} {facts.region(e)}" for e in entities])


def conclusion(facts: Facts) -> str:
    """`So 2 entities.`: the number of mentions, in the same words at the end of every style.

    A small model learns from it when to end its list of entities, and when to leave the list empty.
    """
    count = len(facts.entities)
    return f"So {count or 'no'} {'entity' if count == 1 else 'entities'}."


def allowed_signs(text: str) -> str:
    """Replace the characters that the answer's schema does not allow in a chain.

    Quotation marks become apostrophes, backslashes become slashes, and runs of white space and control characters
    become one space.
    """
    text = text.replace('"', "'").replace("\\", "/")
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()


def write_chain(style: Style, facts: Facts, rng: random.Random, limit: int = MAX_REASONING) -> str:
    """Write a chain with allowed characters; one longer than `limit` is cut after its last complete sentence.

    Args:
        style: One of `TEMPLATES`, or your own.
        facts: The facts about the post.
        rng: Varies the wording.
        limit: Largest number of characters, that of the program's answers.
    """
    text = draft_chain(style, facts, rng).text
    return text if len(text) <= limit else text[: text.rfind(". ", 0, limit) + 1]


def draft_chain(style: Style, facts: Facts, rng: random.Random) -> Draft:
    """Write a chain with allowed characters, of any length."""
    result = style(facts, rng)
    draft = result if isinstance(result, Draft) else Draft(result)
    return replace(draft, text=allowed_signs(draft.text))
