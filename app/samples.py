"""Examples for the page: posts of the synthetic world, and the real photographs if their packages are installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gmner.data.files.atomic import write_picture
from gmner.data.post import Post
from gmner.data.readers.real_photos import real_photos
from gmner.data.world.generate import World
from gmner.signatures.errors import DataError, InputError

_WORLD = 5


def sample_posts(folder: Path) -> list[Post]:
    """Posts to try, each of which has its image in a file.

    Args:
        folder: An existing folder for the images of the world.
    """
    world, chosen, index = World(), dict[str | None, Post](), 0
    while len(chosen) < _WORLD:  # each of another slice
        post = world.post("test", index)
        if post.image is not None and post.gold:
            chosen.setdefault(post.slice, post)
        index += 1
    return [*(_with_file(post, folder) for post in chosen.values()), *_photos()]


def _with_file(post: Post, folder: Path) -> Post:
    image = post.image
    if image is None:
        raise LookupError(post.id)
    return Post(post.id, post.text, write_picture(image, folder / post.id.replace("/", "_")), slice=post.slice)


def _photos() -> Sequence[Post]:
    try:
        return real_photos()
    except (InputError, DataError):  # the packages with the photographs are an extra
        return []
