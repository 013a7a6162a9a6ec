"""Strata of posts, their split into D1 (injection) and D2 (reinforcement), and what a trainset must be."""

from __future__ import annotations

import random
from collections.abc import Sequence, Sized

from gmner.data.post import Post
from gmner.programs.adapter import PromptAdapter
from gmner.signatures.errors import ImageError, InputError


def stratum(post: Post) -> str:
    """`empty`, `shown`, `absent` or `mixed`: how the picture relates to what the post names."""
    seen = {entity.visible for entity in post.gold}
    if not seen:
        return "empty"
    return "mixed" if len(seen) == 2 else ("shown" if seen == {True} else "absent")


def split_posts(posts: Sequence[Post], share: float, rng: random.Random) -> tuple[list[Post], list[Post]]:
    """Split annotated posts into D1 and D2, stratified by `stratum`; no post is in both.

    Args:
        posts: The training posts, ids unique.
        share: D1's share of the posts, 0..1; the paper does not give it.
        rng: The source of randomness.

    Raises:
        InputError: No post, a post without annotation, or two posts with one id.
    """
    check_trainset(posts)
    groups: dict[str, list[Post]] = {}
    for post in rng.sample(list(posts), len(posts)):
        groups.setdefault(stratum(post), []).append(post)
    first: list[Post] = []
    second: list[Post] = []
    seen = 0
    for _, group in sorted(groups.items()):
        # Rounded over all groups so far: many small groups would otherwise all fall to one side.
        cut = round(share * (seen + len(group))) - round(share * seen)
        seen += len(group)
        first += group[:cut]
        second += group[cut:]
    return rng.sample(first, len(first)), rng.sample(second, len(second))


def check_split(d1: Sized, d2: Sized, *, injected: bool, optimized: bool) -> None:
    """Refuse a split that leaves a stage without posts.

    Args:
        d1: What MRSI learns from.
        d2: What CVO learns from.
        injected: Whether MRSI is to run.
        optimized: Whether CVO is to run.

    Raises:
        InputError: A stage that is to run has no post.
    """
    if (injected and not d1) or (optimized and not d2):
        raise InputError("D1 or D2 has no post", received=(len(d1), len(d2)), remedy="More posts, or another d1_share")


def check_trainset(posts: Sequence[Post]) -> None:
    """Refuse what cannot be trained on.

    Raises:
        InputError: See `split_posts`.
    """
    if not posts:
        raise InputError("The trainset is empty", received=[], accepted="annotated posts")
    ids = [post.id for post in posts]
    if len(set(ids)) != len(ids):
        raise InputError("Two posts of the trainset share an id", received=next(i for i in ids if ids.count(i) > 1))
    bare = next((post.id for post in posts if post.entities is None), None)
    if bare is not None:
        raise InputError("A post of the trainset is not annotated", received=bare, accepted="posts with entities")
    unboxed = next((post.id for post in posts if not post.grounded), None)
    if unboxed is not None:
        raise InputError(
            "A post of the trainset has no annotated regions: it would teach that nothing is shown",
            received=unboxed,
            accepted="posts with `grounded`",
        )


def check_pictures(posts: Sequence[Post], adapter: PromptAdapter) -> None:
    """Refuse posts whose picture would stop a compile in the middle; every picture is decoded once.

    Args:
        posts: Annotated posts.
        adapter: The program's adapter, which knows what pictures the model takes.

    Raises:
        InputError: A post with boxes and no picture.
        ImageError: A picture that cannot be read or that the model does not take; the fact names the post.
    """
    blind = [post.id for post in posts if post.image is None and any(entity.visible for entity in post.gold)]
    if blind:
        raise InputError(
            f"{len(blind)} posts of the trainset have boxes but no picture",
            received=blind[0],
            accepted="posts with their pictures",
            remedy="Tell the reader where the pictures are (images=), or leave these posts out (gmner compile "
            "--with-pictures)",
        )
    for post in posts:
        try:
            adapter.request({"text": post.text, "image": post.image})
        except ImageError as error:
            fact = f"Post {post.id!r} of the trainset: {error.fact}"
            raise ImageError(
                fact, received=error.received, accepted=error.accepted, remedy=error.remedy or "Leave this post out"
            ) from error
