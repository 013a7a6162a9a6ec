"""`statistics`: figures that describe annotated posts, and the figures of Twitter-GMNER for comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from gmner.data.post import Post
from gmner.data.scoring.evaluation import percent
from gmner.data.world.plans import SLICES
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Figures of a set of posts. Shares are in percent; None means that the data does not contain the information.

    Attributes:
        posts: Number of posts.
        without_entity: Share of posts without mentions.
        mentions: Number of mentions.
        mean_mentions: Mean number of mentions per post.
        most_mentions: Maximum number of mentions per post.
        types: Type -> share of the mentions.
        not_shown: Share of mentions that the image does not show.
        several_boxes: Share of mentions with more than one box.
        adjacent_pairs: Number of mentions that follow another one with only white space in between.
        mean_tokens: Mean number of tokens per text; words between spaces if the data has no tokens.
        distinct_texts: Number of distinct texts as a share of the posts.
        slices: Slice -> share of the posts; None if no post has a slice.
        mean_things: Mean number of named entities per image, mentioned or not.
        most_things: Maximum number of named entities per image.
        partly_covered: Share of images in which a nearer object covers a part of a named entity.
    """

    posts: int
    without_entity: float
    mentions: int
    mean_mentions: float
    most_mentions: int
    types: Mapping[str, float]
    not_shown: float | None
    several_boxes: float | None
    adjacent_pairs: int
    mean_tokens: float
    distinct_texts: float
    slices: Mapping[str, float] | None = None
    mean_things: float | None = None
    most_things: int | None = None
    partly_covered: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert the figures to JSON data."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}

    @property
    def adjacent(self) -> float | None:
        """`adjacent_pairs` as a share of the mentions; None if there are no mentions."""
        return _percent(self.adjacent_pairs, self.mentions) if self.mentions else None


TWITTER_GMNER = Statistics(
    posts=7_000,
    without_entity=100 * 358 / 7_000,
    mentions=11_779,
    mean_mentions=11_779 / 7_000,
    most_mentions=6,
    types=MappingProxyType(
        {name: 100 * n / 11_779 for name, n in (("PER", 5_019), ("LOC", 1_918), ("ORG", 3_035), ("OTHER", 1_807))}
    ),
    not_shown=100 * 7_046 / 11_779,
    several_boxes=100 * 421 / 11_779,
    adjacent_pairs=120,
    mean_tokens=112_542 / 7_000,
    distinct_texts=100 * 6_992 / 7_000,
)
"""The training split of Twitter-GMNER v2.0 (Yu et al., ACL 2023), counted from its files; it has no scenes."""


def statistics(posts: Iterable[Post]) -> Statistics:
    """Compute the figures of annotated posts.

    Args:
        posts: The posts. Figures that depend on boxes are None unless all posts are `grounded`; figures that depend on
            scenes use only the posts with a scene.

    Raises:
        InputError: There are no posts, or a post is not annotated.
    """
    posts = list(posts)
    _check(posts)
    counts = [len(post.gold) for post in posts]
    mentions = [gold for post in posts for gold in post.gold]
    grounded = bool(mentions) and all(post.grounded for post in posts)
    slices = Counter(post.slice for post in posts if post.slice is not None)
    return Statistics(
        posts=len(posts),
        without_entity=_percent(counts.count(0), len(posts)),
        mentions=len(mentions),
        mean_mentions=len(mentions) / len(posts),
        most_mentions=max(counts),
        types=_shares(Counter(gold.type for gold in mentions), len(mentions), COARSE.names),
        not_shown=_percent(sum(not gold.visible for gold in mentions), len(mentions)) if grounded else None,
        several_boxes=_percent(sum(len(gold.boxes) > 1 for gold in mentions), len(mentions)) if grounded else None,
        adjacent_pairs=sum(map(_adjacent_pairs, posts)),
        mean_tokens=sum(len(post.tokens or post.text.split()) for post in posts) / len(posts),
        distinct_texts=_percent(len({post.text for post in posts}), len(posts)),
        slices=_shares(slices, len(posts), SLICES) if slices else None,
        **_of_scenes(posts),
    )


def _check(posts: Sequence[Post]) -> None:
    if not posts:
        raise InputError("posts must not be empty")
    unannotated = next((post.id for post in posts if post.entities is None), None)
    if unannotated is not None:
        raise InputError("A post is not annotated", received=unannotated, accepted="posts with `entities`")


def _of_scenes(posts: Sequence[Post]) -> dict[str, Any]:
    scenes = [[thing for thing in post.scene if thing.type] for post in posts if post.scene is not None]
    if not scenes:
        return {}
    counts = [len(scene) for scene in scenes]
    return {
        "mean_things": sum(counts) / len(scenes),
        "most_things": max(counts),
        "partly_covered": _percent(sum(any(thing.covered > 0 for thing in scene) for scene in scenes), len(scenes)),
    }


def _adjacent_pairs(post: Post) -> int:
    ordered = sorted(post.gold, key=lambda gold: gold.key)
    gaps = ((first.end, second.start) for first, second in pairwise(ordered))
    return sum(end <= start and not post.text[end:start].strip() for end, start in gaps)


def _shares(counts: Counter[str], whole: int, order: Collection[str]) -> dict[str, float]:
    """Name -> share, with the names of `order` first."""
    names = [*(name for name in order if name in counts), *sorted(set(counts) - set(order))]
    return {name: _percent(counts[name], whole) for name in names}


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole


_ROWS: Mapping[str, Callable[[Statistics], float | int | None]] = {
    "posts": lambda s: s.posts,
    "posts without an entity, %": lambda s: s.without_entity,
    "mentions": lambda s: s.mentions,
    "mentions per post": lambda s: s.mean_mentions,
    "maximum mentions per post": lambda s: s.most_mentions,
    "mentions not shown, %": lambda s: s.not_shown,
    "mentions with several boxes, %": lambda s: s.several_boxes,
    "adjacent mentions, %": lambda s: s.adjacent,
    "tokens per text": lambda s: s.mean_tokens,
    "distinct texts, %": lambda s: s.distinct_texts,
    "entities per image": lambda s: s.mean_things,
    "maximum entities per image": lambda s: s.most_things,
    "images with a covered entity, %": lambda s: s.partly_covered,
}


def side_by_side(columns: Mapping[str, Statistics]) -> list[tuple[str, ...]]:
    """Format statistics as rows of text: column titles, then (figure, value, value, ...); a dash means unknown.

    Args:
        columns: Title -> statistics.
    """
    rows = [(name, *(_cell(value(column)) for column in columns.values())) for name, value in _ROWS.items()]
    for label, shares in (
        ("mentions of type {}, %", [column.types for column in columns.values()]),
        ("posts of slice {}, %", [column.slices or {} for column in columns.values()]),
    ):
        names = dict.fromkeys(name for by_name in shares for name in by_name)
        rows += [(label.format(name), *(_cell(by_name.get(name)) for by_name in shares)) for name in names]
    return [("", *columns), *rows]


def _cell(value: float | int | None) -> str:
    return f"{value:,}" if isinstance(value, int) else percent(value)
