"""Strata of posts, the split into D1 (for MRSI) and D2 (for CVO), and the checks of a training set."""

from __future__ import annotations

import random
from collections.abc import Sequence, Sized

from gmner.data.post import Post
from gmner.programs.adapter import PromptAdapter
from gmner.programs.trainable import post_inputs
from gmner.signatures.errors import ImageError, InputError


def stratum(post: Post) -> str:
    """`empty`, `shown`, `absent` or `mixed`: which of the entities of a post its image shows.

    With the task before it, as in `mner` or `grec shown`, for a post of a related task.
    """
    if post.task == "mner":
        return "mner" if post.gold else "mner empty"
    seen = {entity.visible for entity in post.gold}
    if not seen:
        return "empty"
    name = "mixed" if len(seen) == 2 else ("shown" if seen == {True} else "absent")
    return name if post.task == "gmner" else f"{post.task} {name}"


def split_posts(posts: Sequence[Post], share: float, rng: random.Random) -> tuple[list[Post], list[Post]]:
    """Split annotated posts into disjoint D1 and D2, stratified by `stratum`.

    Args:
        posts: The training posts, ids unique.
        share: D1's share of the posts, 0..1; the paper does not give it.
        rng: Source of randomness.

    Raises:
        InputError: No post, a post without annotation, or two posts with the same id.
    """
    check_trainset(posts)
    groups: dict[str, list[Post]] = {}
    for post in rng.sample(list(posts), len(posts)):
        groups.setdefault(stratum(post), []).append(post)
    first: list[Post] = []
    second: list[Post] = []
    seen = 0
    for _, group in sorted(groups.items()):
        # Rounded over all groups so far; otherwise many small groups could all end up on one side.
        cut = round(share * (seen + len(group))) - round(share * seen)
        seen += len(group)
        first += group[:cut]
        second += group[cut:]
    return rng.sample(first, len(first)), rng.sample(second, len(second))


def check_split(d1: Sized, d2: Sized, *, injected: bool, optimized: bool) -> None:
    """Check that each stage has posts.

    Args:
        d1: The posts that MRSI learns from.
        d2: The posts that CVO learns from.
        injected: Whether MRSI runs.
        optimized: Whether CVO runs.

    Raises:
        InputError: A stage that runs has no post.
    """
    if (injected and not d1) or (optimized and not d2):
        raise InputError(
            "D1 or D2 has no post",
            received=(len(d1), len(d2)),
            remedy="Use more posts, another d1_share or other task_weights",
        )


def check_trainset(posts: Sequence[Post]) -> None:
    """Check that posts can be trained on.

    Raises:
        InputError: See `split_posts`.
    """
    if not posts:
        raise InputError("The training set is empty", received=[], accepted="annotated posts")
    ids = [post.id for post in posts]
    if len(set(ids)) != len(ids):
        raise InputError(
            "Two posts of the training set have the same id", received=next(i for i in ids if ids.count(i) > 1)
        )
    bare = next((post.id for post in posts if post.entities is None), None)
    if bare is not None:
        raise InputError("A post of the training set is not annotated", received=bare, accepted="posts with entities")


def check_pictures(posts: Sequence[Post], adapter: PromptAdapter) -> None:
    """Check the images of posts, so that none of them stops a compile later; every image is decoded once.

    Args:
        posts: Annotated posts.
        adapter: The program's adapter, which knows the images that the model accepts.

    Raises:
        InputError: A post with boxes and no image.
        ImageError: An image that cannot be read or that the model does not accept; the message names the post.
    """
    imageless = [post.id for post in posts if not post.images and any(entity.visible for entity in post.gold)]
    if imageless:
        raise InputError(
            f"{len(imageless)} posts of the training set have boxes but no image",
            received=imageless[0],
            accepted="posts with their images",
            remedy="Pass the image folder (--images, or images= of the reader), or leave these posts out "
            "(--with-pictures)",
        )
    for post in posts:
        try:
            adapter.request(post_inputs(post))
        except ImageError as error:
            fact = f"Post {post.id!r} of the training set: {error.fact}"
            raise ImageError(
                fact, received=error.received, accepted=error.accepted, remedy=error.remedy or "Leave this post out"
            ) from error
