"""Styles of reasoning: each walks the four constraints of MRSI over the gold of a post.

C_s: which words are names; C_t: of what type; C_e: does the picture show the very thing; C_u: where. A style is one
function `(Facts, random.Random) -> str`; a user adds a style by writing one.

Source: MCR (Ma et al., Findings of ACL 2026), section on MRSI, for the constraints; the styles' wording is ours.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gmner.data.post import Post, SceneObject
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import MAX_REASONING
from gmner.signatures.wire import Frame, dump


@dataclass(frozen=True, slots=True)
class Facts:
    """What a chain may say of a post: its gold, and nothing that is not known.

    Attributes:
        entities: The gold mentions in text order.
        scene: Everything the picture shows, or None where the data set does not say.
        frame: Writes boxes as the model family does.
    """

    entities: tuple[GoldEntity, ...]
    scene: tuple[SceneObject, ...] | None
    frame: Frame

    @classmethod
    def of(cls, post: Post, frame: Frame) -> Facts:
        """The facts of an annotated post."""
        return cls(post.gold, post.scene, frame)

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
        """What the picture shows and the text does not name; empty where the scene is not known."""
        named = {e.span for e in self.entities}
        return [o for o in self.scene or () if o.name not in named]

    def at(self, box: Box) -> str:
        """A box as the model writes it: `[12,3,45,60]`."""
        return dump(self.frame.encode(box))

    def picture(self) -> str:
        """Everything the picture is known to show, with boxes, from left to right."""
        things = [(o.name, o.box) for o in self.scene] if self.scene is not None else self._gold_things()
        ordered = sorted(things, key=lambda thing: (thing[1].x1, thing[1].y1))
        return "; ".join(f"{name} {self.at(box)}" for name, box in ordered) or _nothing(self)

    def _gold_things(self) -> list[tuple[str, Box]]:
        return list({(e.span, e.boxes[0]): None for e in self.shown})


def _nothing(facts: Facts) -> str:
    return "nothing" if facts.scene is not None else "none of the names"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "none"


Style = Callable[[Facts, random.Random], str]


def picture_first(facts: Facts, rng: random.Random) -> str:
    """What the picture shows, then the names, then whether each is among it."""
    names = _listed([f"{e.span} ({e.type})" for e in facts.entities])
    verdicts = " ".join(f"{e.span}: {'shown' if e.visible else 'not shown'}." for e in facts.entities)
    return f"Picture: {facts.picture()}. {rng.choice(('Names', 'Post names'))}: {names}. {verdicts}"


def stepwise(facts: Facts, rng: random.Random) -> str:
    """The four constraints one after the other, each over all entities."""
    types = _listed([f"{e.span} {e.type}" for e in facts.entities])
    boxes = _listed([f"{e.span} {facts.at(e.boxes[0])}" for e in facts.shown])
    parts = [f"Names: {_listed([e.span for e in facts.entities])}.", f"Types: {types}.", f"Picture: {facts.picture()}."]
    parts += [f"Shown: {_listed([e.span for e in facts.shown])}.", f"Boxes: {boxes}."]
    return " ".join(parts)


def entity_by_entity(facts: Facts, rng: random.Random) -> str:
    """One entity after the other through all four constraints."""
    if not facts.entities:
        return f"Names: none. Picture: {facts.picture()}."
    lines = []
    for entity in facts.entities:
        if entity.visible:
            lines.append(f"{entity.span} is {entity.type}, in the picture at {facts.at(entity.boxes[0])}.")
        else:
            lines.append(f"{entity.span} is {entity.type}, not in the picture{_instead(entity, facts)}.")
    return " ".join(lines)


def _instead(entity: GoldEntity, facts: Facts) -> str:
    """What of the same type the picture shows instead, where that is known."""
    others = [o.name for o in facts.unnamed if o.type == entity.type]
    return f", which shows {others[0]} instead" if others else ""


def elimination(facts: Facts, rng: random.Random) -> str:
    """Post against picture: what is named, what is shown, what is in both, only named, only shown."""
    both = _listed([f"{e.span} {facts.at(e.boxes[0])}" for e in facts.shown])
    named = _listed([f"{e.span} ({e.type})" for e in facts.entities])
    parts = [f"Names: {named}.", f"Picture: {facts.picture()}.", f"In both: {both}."]
    parts.append(f"Only named: {_listed([e.span for e in facts.absent])}.")
    if facts.scene is not None:
        parts.append(f"Only shown: {_listed([o.name for o in facts.unnamed])}.")
    return " ".join(parts)


def plain(facts: Facts, rng: random.Random) -> str:
    """No reasoning: the answer alone, the baseline of the ablation."""
    return ""


TEMPLATES: Mapping[str, Style] = {
    "picture_first": picture_first,
    "stepwise": stepwise,
    "entity_by_entity": entity_by_entity,
    "elimination": elimination,
}
"""The template styles by name."""


def write_chain(style: Style, facts: Facts, rng: random.Random, limit: int = MAX_REASONING) -> str:
    """A chain in a style, in signs that the answer's schema allows.

    Quotes become apostrophes, backslashes slashes and white space one space. A chain longer than `limit`
    characters ends behind its last whole sentence.

    Args:
        style: One of `TEMPLATES`, or one's own.
        facts: The post's facts.
        rng: The source of varied wording.
        limit: Most characters, those of the program's answers.
    """
    text = style(facts, rng).replace('"', "'").replace("\\", "/")
    text = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    if len(text) <= limit:
        return text
    return text[: text.rfind(". ", 0, limit) + 1]
