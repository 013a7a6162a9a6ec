"""Posts with several images: uses only the first ones, for models that take fewer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from gmner.data.post import Post
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.number_checks import check_integer

LOG = logging.getLogger(__name__)


def with_first_pictures(post: Post, limit: int | None) -> Post:
    """The post with only its first images; an entity that only the others show is then not shown.

    Args:
        post: The post.
        limit: Largest number of images; None: all of them.
    """
    if limit is None or len(post.images) <= limit:
        return post
    image, *more = post.images[:limit]
    entities = None if post.entities is None else tuple(_within(entity, limit) for entity in post.entities)
    scene = None if post.scene is None else tuple(thing for thing in post.scene if thing.box.picture <= limit)
    return replace(post, image=image, more_images=tuple(more), entities=entities, scene=scene)


def first_pictures(posts: Sequence[Post], limit: int | None) -> list[Post]:
    """The posts with only their first images, see `with_first_pictures`; logs a warning if any post has more.

    Args:
        posts: The posts.
        limit: Largest number of images of a post; None: all of them.

    Raises:
        InputError: The limit is not an integer of at least 1.
    """
    check_integer("limit_pictures", limit, optional=True)
    if limit is None:
        return list(posts)
    more = sum(len(post.images) > limit for post in posts)
    if more:
        LOG.warning("limit_pictures=%d: the further images of %d of %d posts are not used", limit, more, len(posts))
    return [with_first_pictures(post, limit) for post in posts]


def _within(entity: GoldEntity, limit: int) -> GoldEntity:
    return replace(entity, boxes=tuple(box for box in entity.boxes if box.picture <= limit))
