"""Demonstrations: worked examples in the prompt, chosen from chains, with small pictures, checked before they are sent.

Source: MCR (Ma et al., Findings of ACL 2026) trains on its chains; putting a few of them into the prompt of a model
whose weights cannot be reached, and the rule by which they are chosen, are ours.
"""

from __future__ import annotations

import hashlib
import logging
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dspy
from PIL import Image

from gmner.data.files.atomic import atomic_path, encoded
from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.split import stratum
from gmner.programs.adapter import PromptAdapter
from gmner.programs.prompt_images import load_picture, original_size
from gmner.signatures.boxes import Box, Size
from gmner.signatures.errors import GmnerError, InputError
from gmner.signatures.forms import as_data, as_entity
from gmner.signatures.labels import LabelSet
from gmner.signatures.mentions import GroundedEntity
from gmner.signatures.wire import Frame

LOG = logging.getLogger(__name__)

Demo = dict[str, Any]
"""`text`, `image`, `reasoning` and `entities` of a post, and `post_id`; boxes in pixels of its own picture."""

Level = Literal["off", "warn", "error"]
LEVELS: tuple[Level, ...] = ("off", "warn", "error")

_QUAD = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]")
_TOLD = 5


def covering_chains(
    chains: Sequence[Chain], posts: Mapping[str, Post], count: int, rng: random.Random | None = None
) -> tuple[Chain, ...]:
    """Chains of `count` posts that cover the strata shown, absent, mixed and empty in different styles.

    One after the other is taken: of the stratum that was taken least, then with a picture, then in the style that was
    taken least.

    Args:
        chains: Chains to choose from.
        posts: Their posts by id.
        count: How many; fewer where there are fewer posts.
        rng: Chooses among equals; None: the post with the shortest text, which costs the fewest tokens.
    """
    waiting = list(chains) if rng is None else rng.sample(list(chains), len(chains))
    chosen: list[Chain] = []
    while waiting and len(chosen) < count:
        best = min(waiting, key=lambda chain: _taken(chain, chosen, posts, short_first=rng is None))
        chosen.append(best)
        waiting = [chain for chain in waiting if chain.post_id != best.post_id]
    return tuple(chosen)


def _taken(
    chain: Chain, chosen: Sequence[Chain], posts: Mapping[str, Post], *, short_first: bool
) -> tuple[int, bool, int, int]:
    """How often stratum and style of a chain are among the chosen; the least is taken next."""
    post = posts[chain.post_id]
    kinds = [stratum(posts[other.post_id]) for other in chosen].count(stratum(post))
    styles = [other.style for other in chosen].count(chain.style)
    return kinds, post.image is None, styles, len(post.text) if short_first else 0


@dataclass(frozen=True)
class DemoWriter:
    """Makes demonstrations of chains; their pictures become PNG files.

    Args:
        posts: The posts by id.
        adapter: The adapter that will send them; the reasoning names boxes in its model's frame.
        folder: Where the pictures go, each whole or not at all, named by their content; None: they stay in memory.
        side: Longest side of a picture in pixels; a smaller picture keeps its pixels.
    """

    posts: Mapping[str, Post]
    adapter: PromptAdapter
    folder: Path | None
    side: int

    def __call__(self, chain: Chain) -> Demo:
        """The demonstration of a chain as plain data; `image` is the path of a file, or None: no picture.

        Boxes are scaled as the picture is, in the entities and in the reasoning.

        Raises:
            ImageError: The picture cannot be read, or the model does not take it.
        """
        post = self.posts[chain.post_id]
        demo = {"post_id": post.id, "text": post.text, "image": None, "reasoning": chain.reasoning}
        picture = load_picture(post.image)
        if picture is None:
            return {**demo, "entities": list(chain.entities)}
        small = _downscaled(picture, self.side)
        change = _Change(picture.size, small.size, self._frame(picture.size), self._frame(small.size))
        return {
            **demo,
            "image": self._kept(small),
            "reasoning": change.reasoning(chain.reasoning, _boxes(chain, post)),
            "entities": [as_data(change.entity(as_entity(entity))) for entity in chain.entities],
        }

    def _frame(self, size: Size) -> Frame:
        profile = self.adapter.profile
        return Frame(profile.box_format, size, profile.resized(size))

    def _kept(self, picture: Image.Image) -> str | dspy.Image:
        picture.info.clear()  # pixels only: a colour profile or a comment would travel with every request
        if self.folder is None:
            return dspy.Image(picture)
        data, suffix = encoded(picture)
        path = self.folder.resolve() / f"{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
        with atomic_path(path) as name:
            name.write_bytes(data)
        return str(path)


def _downscaled(picture: Image.Image, side: int) -> Image.Image:
    """The picture with its longest side at most `side` pixels; one that is small enough as it is."""
    longest = max(picture.size)
    if longest <= side:
        return picture
    width, height = (max(1, round(value * side / longest)) for value in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _boxes(chain: Chain, post: Post) -> list[Box]:
    """Every box that a chain may name, those of the answer first."""
    answered = [as_entity(entity).box for entity in chain.entities]
    gold = [box for entity in post.gold for box in entity.boxes]
    return [box for box in answered if box] + gold + [thing.box for thing in post.scene or ()]


@dataclass(frozen=True)
class _Change:
    """From a picture to its smaller copy; a picture that kept its size changes nothing.

    Width and height are rounded to whole pixels, so each axis has a factor of its own.
    """

    before: Size
    after: Size
    old: Frame
    new: Frame

    def box(self, box: Box) -> Box:
        if self.before == self.after:
            return box
        # Multiplied first: a quotient times the width may end behind the picture's edge.
        x1, x2 = (x * self.after[0] / self.before[0] for x in (box.x1, box.x2))
        y1, y2 = (y * self.after[1] / self.before[1] for y in (box.y1, box.y2))
        return Box(x1, y1, x2, y2)

    def entity(self, entity: GroundedEntity) -> GroundedEntity:
        box = None if entity.box is None else self.box(entity.box)
        return GroundedEntity(entity.span, entity.start, entity.end, entity.type, box)

    def reasoning(self, text: str, boxes: Sequence[Box]) -> str:
        """The reasoning with its boxes in the new frame.

        A box that is known is written exactly as the answer writes it; of another only the rounded figures are there.
        """
        if self.before == self.after:
            return text
        # The first of equals wins: an answer's box must be written alike in both.
        known = {tuple(self.old.encode(box)): self.new.encode(self.box(box)) for box in reversed(boxes)}

        def moved(found: re.Match[str]) -> str:
            figures = tuple(int(figure) for figure in found.groups())
            values = known.get(figures) or self._converted(figures)
            return found[0] if values is None else "[" + ",".join(map(str, values)) + "]"

        return _QUAD.sub(moved, text)

    def _converted(self, figures: Sequence[int]) -> list[int] | None:
        try:
            return self.new.encode(self.box(self.old.decode(figures)))
        except InputError:
            return None  # four numbers that are no box


def check_demonstrations(
    demos: Sequence[Mapping[str, Any]], labels: LabelSet, level: Level = "error"
) -> tuple[str, ...]:
    """Check demonstrations before they are sent: a fault in one would be taught with every request.

    Every span stands verbatim at its offsets in the text, its type is a label, `visible` and `box` agree, the box lies
    inside the picture, and the picture can be read.

    Args:
        demos: Demonstrations (also a `dspy.Example`) with `text`, `image` and `entities`, boxes in pixels of their own
            picture.
        labels: The entity types.
        level: `off`: nothing is looked at; `warn`: faults are logged; `error`: they are raised.

    Returns:
        The faults, each with the number of its demonstration (from 1) and its post.

    Raises:
        InputError: There are faults and the level is `error`, or the level is unknown.
    """
    if level not in LEVELS:
        raise InputError("Unknown level of checking", received=level, accepted=", ".join(LEVELS))
    if level == "off":
        return ()
    found = tuple(
        f"Demonstration {number} ({_post_of(demo)}): {fault}"
        for number, demo in enumerate(demos, 1)
        for fault in _faults(demo, labels)
    )
    if found and level == "error":
        rest = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
        remedy = "Leave these posts out, mend them, or go on with check='warn'"
        raise InputError("; ".join(found[:_TOLD]) + rest, remedy=remedy)
    for fault in found:
        LOG.warning("%s", fault)
    return found


def _post_of(demo: Mapping[str, Any]) -> str:
    """How a message names the post of a demonstration: by its id, else by its text."""
    post = demo.get("post")
    known = demo.get("post_id") or (post.id if isinstance(post, Post) else None)
    return f"post {known!r}" if known else f"text {str(demo.get('text'))[:60]!r}"


def _faults(demo: Mapping[str, Any], labels: LabelSet) -> Iterator[str]:
    text, values, size = demo.get("text"), demo.get("entities"), None
    if not isinstance(text, str) or not text.strip():
        yield "it has no text"
        return
    if not isinstance(values, (list, tuple)):
        yield "it has no list of entities"
        return
    try:
        size = original_size(demo.get("image"), load_picture(demo.get("image")))
    except GmnerError as error:
        yield f"its picture cannot be used: {error}"
        return
    for value in values:
        yield from _entity_faults(value, text, size, labels)


def _entity_faults(value: object, text: str, size: Size | None, labels: LabelSet) -> Iterator[str]:
    try:
        entity = as_entity(value)
    except GmnerError as error:
        yield f"an entity cannot be read: {error}"
        return
    span, start, end, box = entity.span, entity.start, entity.end, entity.box
    whole = isinstance(start, int) and isinstance(end, int) and 0 <= start < end
    if not whole or text[start:end] != span:
        yield f"the span {span!r} does not stand at {start}:{end} of its text"
    if entity.type not in labels:
        yield f"the type {entity.type!r} of {span!r} is none of {', '.join(labels)}"
    if isinstance(value, Mapping) and value.get("visible", entity.visible) is not entity.visible:
        yield f"`visible` and `box` of {span!r} are at odds"
    if box is not None and size is None:
        yield f"{span!r} has a box, but there is no picture"
    elif box is not None and size is not None and not box.inside(size):
        yield f"the box {box.as_tuple()} of {span!r} lies outside its picture of {size[0]} x {size[1]} pixels"
