"""`gmner import`: posts that were exported to another tool and corrected there."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli.command import Command, FileRules
from gmner.cli.files import check_images, written
from gmner.cli.options import POSTS, Names, add_dataset, add_output
from gmner.cli.own_outputs import arguments_of, is_result
from gmner.cli.posts import read_posts
from gmner.cli.printing import posts as counted_posts
from gmner.cli.printing import print_ids, print_message
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from gmner.data.post import Post


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner import`."""
    corrected = "file of tasks or annotations that the tool wrote; for voc, the folder"
    parser.add_argument("tasks", type=Path, metavar="TASKS", help=corrected)
    formats = "format to read: %(choices)s"
    parser.add_argument("--from", dest="source", required=True, choices=Names(_format_names), metavar="FORMAT",
                        help=formats)  # fmt: skip
    posts = "posts that were exported, for what the format cannot represent"
    parser.add_argument("--posts", type=Path, metavar="POSTS", help=f"{posts}: {POSTS}")
    add_output(parser, "POSTS.jsonl", "file to write the corrected posts to")
    add_dataset(parser)


def run(given: Namespace) -> None:
    """Write the corrected posts. What a person left out or did twice is logged."""
    from gmner.data.export.importers import read_corrections
    from gmner.data.jsonl import write_records

    originals = None if given.posts is None else read_posts(given, given.posts, given.split)
    images = given.images if originals is None else None  # paths of the exported posts are already in these folders
    found = read_corrections(given.tasks, given.source, originals, images, split=given.split)
    posts = [post for post in found if post.entities is not None]
    if not posts:
        remedy = "Submit annotations first" if found else "Export the tasks again"
        raise InputError("No post has an annotation", received=str(given.tasks), remedy=remedy)
    _report_missing(posts)
    folder = _image_folder(given)
    records = [_record(post, folder) for post in posts]
    check_images(given.output, posts)
    with written(given.output, overwrite=given.overwrite, own=arguments_of(given)) as place:
        write_records(place, records)
    print_ids("Posts without a submitted annotation, left out", [post.id for post in found if post.entities is None])
    if originals is None and not any(map(_paths, posts)):
        print_message("No images were found; if the posts have images, pass --posts POSTS or --images DIR")
    where = f"; images: --images {folder}" if given.images and any(map(_paths, posts)) else ""
    print_message(f"Wrote {counted_posts(len(posts))} to {given.output}{where}")


def _report_missing(posts: Sequence[Post]) -> None:
    """Print how many posts have an image file that does not exist, and the first of these files."""
    missing = [[path for path in _paths(post) if not path.is_file()] for post in posts]
    if any(missing):
        without, first = sum(map(bool, missing)), next(filter(None, missing))[0]
        remedy = "--images must be the folder that the image paths of the posts are relative to"
        print_message(f"Images are missing for {counted_posts(without)}; the first: {first}. {remedy}")


def _image_folder(given: Namespace) -> Path:
    """The folder to which the image paths of the output are relative; the common parent of several `--images`."""
    if not given.images:
        return given.output.parent
    first, *more = given.images
    return Path(os.path.commonpath(map(os.path.abspath, given.images))) if more else first


def _record(post: Post, folder: Path) -> dict[str, object]:
    """A post as a line of JSONL, with images relative to the image folder."""
    from gmner.data.records import post_with_images

    paths = [_relative(post, path, folder) for path in _paths(post)]
    return post_with_images(post if paths else replace(post, image=None), paths)


def _paths(post: Post) -> list[Path]:
    return [image for image in post.images if isinstance(image, Path)]


def _relative(post: Post, path: Path, folder: Path) -> str:
    name = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))
    if name.startswith(os.pardir):
        raise InputError(
            f"The image of post {post.id!r} is not in the image folder {folder}, where the output would look for it",
            received=str(path),
            remedy="Pass the folder with --images, or write the output beside the exported posts",
        )
    return Path(name).as_posix()


def _format_names() -> Iterable[str]:
    from gmner.data.export.importers import IMPORTERS

    return IMPORTERS


COMMAND = Command(
    "import",
    "read posts that were corrected in another tool",
    "gmner import --from label-studio tasks.json --posts posts.jsonl -o corrected.jsonl",
    add_arguments,
    run,
    files=FileRules(
        inputs=("tasks",),
        may_replace=lambda given, output: is_result([output]),
    ),
)
