"""`gold_digest`: recognizes the texts and gold annotations of a run directory's posts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from gmner.data.post import Post
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity


def gold_digest(posts: Iterable[Post]) -> str:
    """The first twelve hexadecimal digits of the sha256 of the texts and gold annotations; images are not read.

    Run directories store the digest, so its input must not change. It is the `repr` that dataclasses generate, with
    unrounded coordinates; `repr` of a `Box` rounds them.
    """
    contents = [(post.text, tuple(map(_entity, post.gold))) for post in posts]
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Notation:
    """A text whose `repr` is the text itself."""

    text: str

    def __repr__(self) -> str:
        return self.text


def _entity(entity: GoldEntity) -> _Notation:
    values = {
        "span": entity.span, "start": entity.start, "end": entity.end, "type": entity.type,
        "boxes": tuple(map(_box, entity.boxes)),
    }  # fmt: skip
    return _Notation(f"GoldEntity({', '.join(f'{name}={value!r}' for name, value in values.items())})")


def _box(box: Box) -> _Notation:
    names = ("x1", "y1", "x2", "y2", *(("picture",) if box.picture > 1 else ()))
    return _Notation("Box({})".format(", ".join(f"{name}={getattr(box, name)!r}" for name in names)))
