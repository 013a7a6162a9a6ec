"""The posts that a command reads."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Container, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli.printing import posts as counted_posts
from gmner.cli.printing import print_message
from gmner.signatures.errors import InputError
from gmner.signatures.log_filters import without_messages

if TYPE_CHECKING:
    from gmner.data.oddities import Posts
    from gmner.data.post import Post

_MISSING = "missing_image"


def add_with_pictures(parser: ArgumentParser) -> None:
    """Add `--with-pictures`; `read_wanted_posts` follows it."""
    parser.add_argument("--with-pictures", action="store_true", help="skip posts whose image is missing")


def read_posts(given: Namespace, path: Path, split: str | None) -> Posts:
    """Read posts with the arguments that `gmner.cli.options.add_dataset` adds.

    Args:
        given: The parsed arguments.
        path: A JSONL file or the folder of a data set.
        split: The split; None: the data set has none.

    Raises:
        GmnerError: See `gmner.read_dataset`.
    """
    from gmner.data.mixing import rename_types
    from gmner.data.readers.choose import read_dataset

    options = {name: getattr(given, name) for name in ("format", "instances", "joiner", "most_targets")}
    posts = read_dataset(path, split, given.images, **options)
    return rename_types(posts, dict(given.rename_type)) if given.rename_type else posts


def read_wanted_posts(given: Namespace, path: Path, split: str | None, limit: int | None = None) -> Posts:
    """The posts that a command processes. Readers log nothing about missing images, see `report_missing_images`.

    Args:
        given: The parsed arguments. With `--with-pictures`, posts whose image is missing are skipped.
        path: See `read_posts`.
        split: See `read_posts`.
        limit: Maximum number of posts; None: all.

    Raises:
        GmnerError: See `gmner.read_dataset`.
    """
    with _silent_about_missing_images():
        posts = read_posts(given, path, split)
    if given.with_pictures:
        kept = [post for post in posts if _has_image(post)]
        if len(kept) < len(posts):
            print_message(f"Skipped {len(posts) - len(kept)} of {counted_posts(len(posts))} of {path}: no image")
        posts = posts.only(kept)
    return posts.only(posts[:limit])


def report_missing_images(posts: Posts) -> None:
    """Print how many of these posts have a missing image, and the first one; nothing if none has."""
    missing = [oddity for oddity in posts.oddities if oddity.kind == _MISSING]
    if missing:
        without = len({oddity.post for oddity in missing})
        print_message(f"Images are missing for {counted_posts(without)}; the first: {missing[0]}")


def check_any_answered(file: Path, ids: Container[str], posts: Sequence[Post]) -> None:
    """Refuse predictions none of which belongs to one of the posts.

    Args:
        file: The file of the predictions, for the error.
        ids: The ids of the predictions.
        posts: The posts.

    Raises:
        InputError: There is no such prediction.
    """
    if not any(post.id in ids for post in posts):
        remedy = "Pass the posts and the split that the predictions were made for"
        raise InputError("No prediction belongs to any of the posts", received=str(file), remedy=remedy)


def _has_image(post: Post) -> bool:
    return bool(post.images) and all(not isinstance(image, Path) or image.is_file() for image in post.images)


def _silent_about_missing_images() -> AbstractContextManager[None]:
    """Keep readers from logging the missing images of all posts."""
    return without_messages("gmner.data.oddities", f"{_MISSING}:")
