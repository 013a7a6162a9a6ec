"""Demonstrations: worked examples in the prompt, chosen from chains, with small images, checked before they are sent.

Source: MCR (Ma et al., Findings of ACL 2026) trains on its chains. Using a few of them in the prompt of a model whose
weights are not accessible, and the rule that chooses them, are ours.
"""

from __future__ import annotations

import hashlib
import logging
import math
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
from gmner.programs.prompt_images import opened_picture, original_size, picture_inputs, picture_sources
from gmner.signatures.boxes import Box, Size
from gmner.signatures.errors import GmnerError, InputError
from gmner.signatures.forms import as_data, as_entity
from gmner.signatures.labels import LabelSet
from gmner.signatures.mentions import GroundedEntity
from gmner.signatures.wire import Frame

LOG = logging.getLogger(__name__)

Demo = dict[str, Any]
"""`text`, `image`, `reasoning` and `entities` of a post, and `post_id`; boxes in pixels of this `image`.

The demonstration of a post with several images also has `more_images`, a list.
"""

Level = Literal["off", "warn", "error"]
LEVELS: tuple[Level, ...] = ("off", "warn", "error")

_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_QUAD = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\](?: of picture (\d{{1,3}}))?")
_SHOWN_FAULTS = 5


def covering_chains(
    chains: Sequence[Chain], posts: Mapping[str, Post], count: int, rng: random.Random | None = None
) -> tuple[Chain, ...]:
    """Choose chains of `count` posts that cover the strata shown, absent, mixed and empty in different styles.

    The next chain is always one of the stratum that was chosen least, then one with an image, then one in the style
    that was chosen least.

    Args:
        chains: Chains to choose from.
        posts: Their posts by id.
        count: Number of chains; fewer are returned if there are fewer posts.
        rng: Breaks ties. None: the post with the shortest text, which needs the fewest tokens, is preferred.
    """
    remaining = list(chains) if rng is None else rng.sample(list(chains), len(chains))
    chosen: list[Chain] = []
    while remaining and len(chosen) < count:
        best = min(remaining, key=lambda chain: _priority(chain, chosen, posts, short_first=rng is None))
        chosen.append(best)
        remaining = [chain for chain in remaining if chain.post_id != best.post_id]
    return tuple(chosen)


def _priority(
    chain: Chain, chosen: Sequence[Chain], posts: Mapping[str, Post], *, short_first: bool
) -> tuple[int, bool, int, int]:
    """Sort key of a chain, by how often its stratum and its style are among the chosen; the smallest is next."""
    post = posts[chain.post_id]
    kinds = [stratum(posts[other.post_id]) for other in chosen].count(stratum(post))
    styles = [other.style for other in chosen].count(chain.style)
    return kinds, not post.images, styles, len(post.text) if short_first else 0


@dataclass(frozen=True)
class DemoWriter:
    """Makes demonstrations from chains and writes their images.

    Args:
        posts: The posts by id.
        adapter: The adapter that will send them. Boxes in the reasoning follow the coordinate convention of its model.
        folder: Folder for the images, which are written atomically and named by their content. None: they stay in
            memory.
        side: Maximum side length of an image in pixels. Smaller images are not changed.
    """

    posts: Mapping[str, Post]
    adapter: PromptAdapter
    folder: Path | None
    side: int

    def __call__(self, chain: Chain) -> Demo:
        """The demonstration of a chain as plain data; images are paths, and `image` is None if the post has none.

        Boxes are scaled with the image, in the entities and in the reasoning.

        Raises:
            ImageError: The image cannot be read, or the model does not accept it.
        """
        post = self.posts[chain.post_id]
        demo = {"post_id": post.id, "text": post.text, "image": None, "reasoning": chain.reasoning}
        pictures = [opened_picture(source) for source in post.images]
        if not pictures:
            return {**demo, "entities": list(chain.entities)}
        small = [_downscaled(picture, self.side) for picture in pictures]
        before, after = [picture.size for picture in pictures], [picture.size for picture in small]
        scaling = _Scaling(before, after, self._frame(before), self._frame(after))
        return {
            **demo,
            **picture_inputs([self._saved(picture) for picture in small]),
            "reasoning": scaling.reasoning(chain.reasoning, _boxes(chain, post)),
            "entities": [as_data(scaling.entity(as_entity(entity))) for entity in chain.entities],
        }

    def _frame(self, sizes: Sequence[Size]) -> Frame:
        profile = self.adapter.profile
        (size, resized), *more = [(size, profile.resized(size)) for size in sizes]
        return Frame(profile.box_format, size, resized, tuple(more))

    def _saved(self, picture: Image.Image) -> str | dspy.Image:
        picture.info.clear()  # pixels only: a colour profile or a comment would be sent with every request
        if self.folder is None:
            return dspy.Image(picture)
        data, suffix = encoded(picture)
        path = self.folder.resolve() / f"{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
        with atomic_path(path) as name:
            name.write_bytes(data)
        return str(path)


def _downscaled(picture: Image.Image, side: int) -> Image.Image:
    """The image scaled down to a side length of at most `side` pixels; unchanged if it is small enough."""
    longest = max(picture.size)
    if longest <= side:
        return picture
    width, height = (max(1, round(value * side / longest)) for value in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _boxes(chain: Chain, post: Post) -> list[Box]:
    """Every box that a chain may mention, those of the answer first."""
    answered = [as_entity(entity).box for entity in chain.entities]
    gold = [box for entity in post.gold for box in entity.boxes]
    return [box for box in answered if box] + gold + [thing.box for thing in post.scene or ()]


@dataclass(frozen=True)
class _Scaling:
    """Converts boxes from images to their smaller copies; changes nothing if all sizes are the same.

    Width and height are rounded to whole pixels, so each axis has its own factor.
    """

    before: Sequence[Size]
    after: Sequence[Size]
    old: Frame
    new: Frame

    def box(self, box: Box) -> Box:
        before, after = self.before[box.picture - 1], self.after[box.picture - 1]
        if before == after:
            return box
        # Multiply first: a rounded quotient times the width may exceed the image.
        x1, x2 = (x * after[0] / before[0] for x in (box.x1, box.x2))
        y1, y2 = (y * after[1] / before[1] for y in (box.y1, box.y2))
        return Box(x1, y1, x2, y2, picture=box.picture)

    def entity(self, entity: GroundedEntity) -> GroundedEntity:
        box = None if entity.box is None else self.box(entity.box)
        return GroundedEntity(entity.span, entity.start, entity.end, entity.type, box)

    def reasoning(self, text: str, boxes: Sequence[Box]) -> str:
        """The reasoning with its boxes in the new coordinates.

        A known box is written exactly as in the answer; any other box is converted from its rounded numbers.
        """
        if self.before == self.after:
            return text
        # Of equal boxes the first one counts, because the answer's box must be the same in both.
        known = {(*self.old.encode(box), box.picture): self.new.encode(self.box(box)) for box in reversed(boxes)}

        def converted(match: re.Match[str]) -> str:
            *coordinates, said = match.groups()
            numbers = tuple(self._number(number) for number in coordinates)
            pictures = range(1, len(self.before) + 1) if said is None else (int(said),)
            written = (known[*numbers, picture] for picture in pictures if (*numbers, picture) in known)
            box = next(written, None) or self._converted(numbers, pictures[0])
            rest = match[0].partition("]")[2]
            return match[0] if box is None else f"[{','.join(map(str, box))}]{rest}"

        return _QUAD.sub(converted, text)

    def _number(self, written: str) -> float:
        """A coordinate; NaN, which is in no range, for decimals where the model writes integers."""
        if self.old.box_format.form == "floats":
            return float(written)
        return int(written) if written.isdecimal() else math.nan

    def _converted(self, numbers: Sequence[float], picture: int) -> list[float] | None:
        try:
            return self.new.encode(self.box(self.old.decode(numbers, picture)))
        except InputError:
            return None  # not a box


def check_demonstrations(
    demos: Sequence[Mapping[str, Any]], labels: LabelSet, level: Level = "error"
) -> tuple[str, ...]:
    """Check demonstrations before they are sent, because the model would imitate a fault in every answer.

    Every span must occur verbatim at its offsets in the text, its type must be a label, `visible` and `box` must agree,
    the box must be inside the image, and the image must be readable.

    Args:
        demos: Demonstrations (or `dspy.Example`s) with `text`, `image` and `entities`, boxes in pixels of their own
            image.
        labels: The entity types.
        level: `off`: nothing is checked. `warn`: faults are logged. `error`: faults are raised.

    Returns:
        The faults, each with the number of its demonstration (from 1) and its post.

    Raises:
        InputError: There are faults and the level is `error`, or the level is unknown.
    """
    if level not in LEVELS:
        raise InputError("Unknown value of check", received=level, accepted=", ".join(LEVELS))
    if level == "off":
        return ()
    faults = tuple(
        f"Demonstration {number} ({_post_of(demo)}): {fault}"
        for number, demo in enumerate(demos, 1)
        for fault in _faults(demo, labels)
    )
    if faults and level == "error":
        rest = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        remedy = "Correct these posts, leave them out, or pass check='warn'"
        raise InputError("; ".join(faults[:_SHOWN_FAULTS]) + rest, remedy=remedy)
    for fault in faults:
        LOG.warning("%s", fault)
    return faults


def _post_of(demo: Mapping[str, Any]) -> str:
    """The name of a demonstration's post in a message: its id, or else its text."""
    post = demo.get("post")
    post_id = demo.get("post_id") or (post.id if isinstance(post, Post) else None)
    return f"post {post_id!r}" if post_id else f"text {str(demo.get('text'))[:60]!r}"


def _faults(demo: Mapping[str, Any], labels: LabelSet) -> Iterator[str]:
    text, values = demo.get("text"), demo.get("entities")
    if not isinstance(text, str) or not text.strip():
        yield "it has no text"
        return
    if not isinstance(values, (list, tuple)):
        yield "it has no list of entities"
        return
    try:
        sizes = [original_size(source, opened_picture(source)) for source in picture_sources(demo)]
    except GmnerError as error:
        yield f"its image cannot be used: {error}"
        return
    for value in values:
        yield from _entity_faults(value, text, sizes, labels)


def _entity_faults(value: object, text: str, sizes: Sequence[Size | None], labels: LabelSet) -> Iterator[str]:
    try:
        entity = as_entity(value)
    except GmnerError as error:
        yield f"an entity cannot be read: {error}"
        return
    span, start, end, box = entity.span, entity.start, entity.end, entity.box
    whole = isinstance(start, int) and isinstance(end, int) and 0 <= start < end
    if not whole or text[start:end] != span:
        yield f"the span {span!r} does not occur at {start}:{end} of its text"
    if entity.type not in labels:
        yield f"the type {entity.type!r} of {span!r} is not one of {', '.join(labels)}"
    if isinstance(value, Mapping) and value.get("visible", entity.visible) is not entity.visible:
        yield f"`visible` and `box` of {span!r} contradict each other"
    size = None if box is None or box.picture > len(sizes) else sizes[box.picture - 1]
    if box is not None and not sizes:
        yield f"{span!r} has a box, but there is no image"
    elif box is not None and size is None:
        yield f"{span!r} has a box in image {box.picture}, but there are {len(sizes)} images"
    elif box is not None and size is not None and not box.inside(size):
        yield f"the box {box.as_tuple()} of {span!r} is outside its image of {size[0]} x {size[1]} pixels"
