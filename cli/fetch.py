"""`gmner fetch`: posts whose images are URLs, as a folder of posts and images."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from gmner.cli.command import Command, FileRules
from gmner.cli.files import check_fetched_place
from gmner.cli.options import add_output, positive_int
from gmner.cli.printing import posts as counted_posts
from gmner.cli.printing import print_message

_SHOWN = 5


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner fetch`."""
    text = "JSONL with id, text and image on each line; the image is a URL or a local file"
    parser.add_argument("posts", type=Path, metavar="POSTS.jsonl", help=text)
    add_output(parser, "DIR", "folder to write posts and images to")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the images that are local files")
    threads = "number of parallel downloads (default: %(default)s)"
    parser.add_argument("--threads", type=positive_int, metavar="N", default=16, help=threads)


def run(given: Namespace) -> int:
    """Download the images; 1 if every download failed."""
    from gmner.data.images.fetched_posts import fetch_posts

    check_fetched_place(given.output, given.posts, overwrite=given.overwrite)
    posts = fetch_posts(given.posts, given.output, given.images, threads=given.threads)
    print_message(f"Wrote {counted_posts(len(posts))} to {given.output}")
    for oddity in posts.oddities[:_SHOWN]:
        print_message(oddity.message)
    if posts.failed:
        failed = f"{posts.failed:,} of {posts.addresses:,} images could not be downloaded"
        print_message(f"{failed}; run the same command again to retry")
    return int(0 < posts.failed == posts.addresses)


COMMAND = Command(
    "fetch",
    "download the images of posts into a folder that the other commands can read",
    "gmner fetch posts.jsonl -o posts/",
    add_arguments,
    run,
    resumes=True,
    files=FileRules(may_replace=lambda given, output: True),  # `check_fetched_place` checks it
)
