"""`GoldVersion`: which gold annotation scores refer to, and how it differs from another one."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.data.readers.placing import PostsByImage, image_key
from gmner.signatures.errors import DataError
from gmner.signatures.mentions import GoldEntity


@dataclass(frozen=True, slots=True)
class GoldVersion:
    """The version of a gold annotation. Published files of one data set differ, so it belongs to every score.

    Attributes:
        posts: Number of posts.
        mentions: Number of gold mentions.
        shown: How many of them the images show; None if regions are not annotated.
        absent: How many they do not show; None if regions are not annotated.
        fingerprint: Hash of the ids, names, types and boxes of the posts with mentions; the order of the posts and
            their texts do not matter.
    """

    posts: int
    mentions: int
    shown: int | None
    absent: int | None
    fingerprint: str

    @classmethod
    def of(cls, posts: Sequence[Post]) -> GoldVersion:
        """The version of the gold of annotated posts."""
        mentions = sum(len(post.gold) for post in posts)
        grounded = all(post.grounded for post in posts)
        shown = sum(entity.visible for post in posts for entity in post.gold) if grounded else None
        rows = sorted([post.id, *sorted(map(_row, post.gold))] for post in posts if post.gold)
        digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:8]
        return cls(len(posts), mentions, shown, None if shown is None else mentions - shown, digest)

    def to_dict(self) -> dict[str, Any]:
        """Convert the version to JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        regions = "no regions" if self.shown is None else f"{self.shown:,} shown, {self.absent:,} not shown"
        counts = f"{counted(self.posts, 'post', 'posts')}, {counted(self.mentions, 'mention', 'mentions')}"
        return f"{counts} ({regions}), version {self.fingerprint}"


_Row = tuple[str, str, str]
"""Post id, name and type of a mention."""

_OTHER = frozenset({"OTHER", "MISC", "MIS"})
# Names of the type of what is neither a person nor a place nor an organization. Published files differ in it.


@dataclass(frozen=True, slots=True)
class GoldDifferences:
    """How two gold annotations of the same posts differ.

    Mentions are compared by post, name and type; the types OTHER, MISC and MIS count as the same.

    Attributes:
        ours: The version of the first gold.
        theirs: The version of the second gold.
        only_ours: `(post id, name, type)` of mentions that only the first one has, once for each.
        only_theirs: The same for the second one.
        shown_ours: Mentions of both that are shown by the first one and not by the second one.
        shown_theirs: Mentions of both that are shown by the second one and not by the first one.
        boxes: Mentions that both call shown, with other boxes.
        types: Types that only one of them has: those of the first, those of the second.
        compared_regions: Whether both annotate regions.
    """

    ours: GoldVersion
    theirs: GoldVersion
    only_ours: tuple[_Row, ...]
    only_theirs: tuple[_Row, ...]
    shown_ours: tuple[_Row, ...]
    shown_theirs: tuple[_Row, ...]
    boxes: tuple[_Row, ...]
    types: tuple[tuple[str, ...], tuple[str, ...]]
    compared_regions: bool

    def __bool__(self) -> bool:
        """Whether they differ."""
        rows = self.only_ours, self.only_theirs, self.shown_ours, self.shown_theirs, self.boxes, *self.types
        return any(rows)

    def __str__(self) -> str:
        parts = [
            (self.only_ours, "mentions are only in the first"),
            (self.only_theirs, "only in the second"),
            (self.shown_ours, "are shown only by the first"),
            (self.shown_theirs, "are shown only by the second"),
            (self.boxes, "have other boxes"),
        ]
        texts = [f"{len(rows):,} {text} (such as {_named(rows[0])})" for rows, text in parts if rows]
        for kinds, which in zip(self.types, ("first", "second"), strict=True):
            texts += [f"types that only the {which} has: {', '.join(kinds)}"] if kinds else []
        regions = "" if self.compared_regions else "; regions are not compared"
        return ("; ".join(texts) or "no differences") + regions


def compare_gold(ours: Sequence[Post], theirs: Sequence[Post]) -> GoldDifferences:
    """Compare two gold annotations of the same data set, such as the published files of two systems.

    Posts are matched by id, or by the name of their image; a post that only one of them has counts as one without
    mentions in the other. Texts and offsets are not compared, because not every published file has them.

    Args:
        ours: Annotated posts.
        theirs: Annotated posts.

    Raises:
        DataError: A post belongs to several of the others, because they have the same image.
    """
    known = PostsByImage(ours)
    regions = all(post.grounded for post in (*ours, *theirs))
    matched = [(_id_in(known, post), post) for post in theirs]
    repeated = [id_ for id_, count in Counter(id_ for id_, _ in matched).items() if count > 1]
    if repeated:
        fact = "Several posts of the second gold belong to one of the first"
        raise DataError(fact, received=repeated[0], remedy="Use the names of the images as the ids of the posts")
    first = _mentions((post.id, post) for post in ours)
    second = _mentions(matched)
    only_ours, only_theirs = list[_Row](), list[_Row]()
    shown_ours, shown_theirs, boxes = list[_Row](), list[_Row](), list[_Row]()
    for key in sorted(first.keys() | second.keys()):
        a, b = first.get(key, []), second.get(key, [])
        only_ours += [key] * max(0, len(a) - len(b))
        only_theirs += [key] * max(0, len(b) - len(a))
        for mine, other in _with_other_boxes(a, b) if regions else ():
            if mine.visible and other.visible:
                boxes.append(key)
            else:
                (shown_ours if mine.visible else shown_theirs).append(key)
    kinds = [{entity.type for post in posts for entity in post.gold} for posts in (ours, theirs)]
    types = (tuple(sorted(kinds[0] - kinds[1])), tuple(sorted(kinds[1] - kinds[0])))
    return GoldDifferences(
        GoldVersion.of(ours),
        GoldVersion.of(theirs),
        only_ours=tuple(only_ours),
        only_theirs=tuple(only_theirs),
        shown_ours=tuple(shown_ours),
        shown_theirs=tuple(shown_theirs),
        boxes=tuple(boxes),
        types=types,
        compared_regions=regions,
    )


def _id_in(known: PostsByImage, post: Post) -> str:
    """The id of the post that another annotation of it has; its own if there is none."""
    found = known.find(post.id)
    if found is None and isinstance(post.image, Path):
        found = known.find(image_key(post.image))
    return post.id if found is None else found.id


def _with_other_boxes(ours: Sequence[GoldEntity], theirs: Sequence[GoldEntity]) -> Iterator[tuple[GoldEntity, ...]]:
    """Pairs of mentions with different boxes, after those with the same boxes were paired."""
    left, right = list[GoldEntity](), list(theirs)
    for mine in ours:
        same = next((place for place, other in enumerate(right) if set(other.boxes) == set(mine.boxes)), None)
        if same is None:
            left.append(mine)
        else:
            del right[same]
    return zip(left, right, strict=False)


def _mentions(posts: Iterable[tuple[str, Post]]) -> dict[_Row, list[GoldEntity]]:
    found: dict[_Row, list[GoldEntity]] = {}
    for id_, post in posts:
        for entity in post.gold:
            kind = "OTHER" if entity.type in _OTHER else entity.type
            found.setdefault((id_, entity.span, kind), []).append(entity)
    return found


def _row(entity: GoldEntity) -> tuple[str, str, list[tuple[float, ...]]]:
    boxes = sorted((float(box.picture), *map(float, box.as_tuple())) for box in entity.boxes)
    return entity.span, entity.type, boxes


def _named(row: _Row) -> str:
    return f"{row[1]!r} ({row[2]}) of post {row[0]}"
