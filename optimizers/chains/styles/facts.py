"""`Facts`: what a chain may say of a post, and the phrases that styles share."""

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
    """What a chain may say of a post: its gold, and nothing that is not known.

    Attributes:
        entities: The gold mentions in text order.
        scene: Every named entity that the picture shows, or None where the data set does not say.
        frame: Writes boxes as the model family does.
        text: The text of the post.
        image: Its picture; None: it has none.
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
        """The facts of an annotated post, without what is no named entity; `frame` writes its boxes."""
        scene = None if post.scene is None else tuple(thing for thing in post.scene if thing.type)
        return cls(post.gold, scene, frame, post.text, post.image, tuple(labels))

    @property
    def shown(self) -> list[GoldEntity]:
        """Gold mentions that the picture shows."""
        return [e for e in self.entities if e.visible]

    @property
    def absent(self) -> list[GoldEntity]:
        """Gold mentions that it does not show."""
        return [e for e in self.entities if not e.visible]

    @property
    def unnamed(self) -> list[SceneObject]:
        """What the picture shows and the text does not name, by whatever name; empty where the scene is not known."""
        named = {e.span for e in self.entities}
        boxes = {box for e in self.entities for box in e.boxes}
        return [o for o in self.scene or () if o.name not in named and o.box not in boxes]

    def at(self, box: Box) -> str:
        """A box as the model writes it: `[12,3,45,60]`."""
        return dump(self.frame.encode(box))

    def region(self, entity: GoldEntity) -> str:
        """The first box of an entity that is shown, as the model writes it."""
        return self.at(entity.boxes[0])

    def picture(self) -> str:
        """Everything the picture is known to show, with boxes, from left to right."""
        things = [(o.name, o.box) for o in self.scene] if self.scene is not None else self._gold_things()
        ordered = sorted(things, key=lambda thing: (thing[1].x1, thing[1].y1))
        nothing = "nothing" if self.scene is not None else "none of the names"
        return "; ".join(f"{name} {self.at(box)}" for name, box in ordered) or nothing

    def instead(self, entity: GoldEntity) -> str | None:
        """What of an absent entity's type the picture shows unnamed, where that is known."""
        return next((o.name for o in self.unnamed if o.type == entity.type), None)

    def _gold_things(self) -> list[tuple[str, Box]]:
        return list({(e.span, e.boxes[0]): None for e in self.shown})


@dataclass(frozen=True, slots=True)
class Draft:
    """A chain as a style hands it over.

    Attributes:
        text: The chain.
        author: Who wrote it: `template`, `llm` or `mllm`.
        problem: Why it is not what was wanted; empty: it is.
    """

    text: str
    author: str = "template"
    problem: str = ""


@runtime_checkable
class ModelWritten(Protocol):
    """A style whose chains a model writes, several at once."""

    author: str


Style = Callable[[Facts, random.Random], "str | Draft"]
"""A style of reasoning: writes a chain over the facts of a post, with wording drawn from the generator."""


def listed(names: Sequence[str]) -> str:
    """`A, B`, each once; `none` where there are none."""
    return ", ".join(dict.fromkeys(names)) or "none"


def typed(entities: Sequence[GoldEntity]) -> str:
    """`A (PER), B (ORG)`; `none` where there are none."""
    return listed([f"{e.span} ({e.type})" for e in entities])


def placed(entities: Sequence[GoldEntity], facts: Facts) -> str:
    """`A [12,3,45,60], B [...]` of entities that are shown; `none` where there are none."""
    return listed([f"{e.span} {facts.region(e)}" for e in entities])


def conclusion(facts: Facts) -> str:
    """`So 2 entities.`: how many mentions the answer has, the same words at the end of every style.

    A small model learns from it when to end its list, and of a post that names nothing that the list is empty, whatever
    the style was.
    """
    count = len(facts.entities)
    return f"So {count or 'no'} {'entity' if count == 1 else 'entities'}."


def allowed_signs(text: str) -> str:
    """A text in the signs that the answer's schema allows in a chain.

    Quotes become apostrophes, backslashes slashes, and white space and control characters one space.
    """
    text = text.replace('"', "'").replace("\\", "/")
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()


def write_chain(style: Style, facts: Facts, rng: random.Random, limit: int = MAX_REASONING) -> str:
    """A chain in a style, in allowed signs; longer than `limit` characters it ends behind its last whole sentence.

    Args:
        style: One of `TEMPLATES`, or one's own.
        facts: The post's facts.
        rng: The source of varied wording.
        limit: Most characters, those of the program's answers.
    """
    text = draft_chain(style, facts, rng).text
    return text if len(text) <= limit else text[: text.rfind(". ", 0, limit) + 1]


def draft_chain(style: Style, facts: Facts, rng: random.Random) -> Draft:
    """What a style writes, in allowed signs, of any length."""
    written = style(facts, rng)
    whole = written if isinstance(written, Draft) else Draft(written)
    return replace(whole, text=allowed_signs(whole.text))
