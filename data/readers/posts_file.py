"""The reader of JSONL posts, the package's own format; see `gmner.data.jsonl`."""

from __future__ import annotations

import os

from gmner.data.jsonl import read_posts
from gmner.data.oddities import Posts
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.signatures.errors import InputError

POSTS_FILE = "posts.jsonl"
"""The file that makes a folder one of JSONL posts."""


def _read(location: DatasetLocation) -> Posts:
    images = location.images
    if images is not None and not isinstance(images, (str, os.PathLike)):
        folders = list(images)
        if len(folders) > 1:
            received, remedy = ", ".join(map(str, folders)), "Pass the folder that its image paths are relative to"
            raise InputError("A JSONL file can have only one image folder", received=received, remedy=remedy)
        images = folders[0] if folders else None
    return read_posts(location.path, images)


def _detects(location: DatasetLocation) -> bool:
    return location.path.is_file() or (location.path / POSTS_FILE).is_file()


JSONL = Reader("jsonl", _read, _detects)
