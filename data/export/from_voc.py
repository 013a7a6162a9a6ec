"""Posts whose boxes or names were corrected in files of Pascal VOC and CoNLL."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gmner.data.export.corrections import Corrections, Marked
from gmner.data.export.importer import Corrected, Importer
from gmner.data.oddities import Posts
from gmner.data.post import Post
from gmner.data.readers.image_folder import Folders
from gmner.data.readers.sources import split_required
from gmner.data.readers.twitter import read_twitter_gmner


def from_voc(
    root: str | os.PathLike[str], split: str, posts: Iterable[Post] | None = None, images: Folders | None = None
) -> Posts:
    """Read corrected posts from the folder of `write_voc`, see `gmner.read_twitter_gmner`.

    Args:
        root: The folder with `txt/` and `xml/`.
        split: The name of the split.
        posts: The exported posts, for what the format cannot represent (scene and slice); None: not given.
        images: As for `gmner.read_twitter_gmner`. None: the images of `posts`, if they are given.

    Returns:
        The posts. The oddities are those of the reader, such as `orphan_object` for a box whose name is no mention, and
        `unknown_post`, `text_differs` and `duplicate_box`.

    Raises:
        InputError, DataError: See `gmner.read_twitter_gmner`.
    """
    read = read_twitter_gmner(root, split, images)
    if posts is None:
        return read
    where, corrections = os.fspath(root), Corrections(Path(root), posts, None)
    corrected = []
    for post in read:
        marks = [Marked(*entity.key, entity.type, list(entity.boxes)) for entity in post.gold]
        joined = corrections.post(post, marks, (), f"{where}: post {post.id}", check_boxes=False)
        own = images is not None and post.image is not None
        corrected.append(replace(joined, image=post.image) if own else joined)
    found = corrections.posts(corrected)
    return Posts(found, dict.fromkeys((*read.oddities, *found.oddities)))


def _read(given: Corrected) -> Posts:
    with split_required(given.path, given.split):
        return from_voc(given.path, given.split or "", given.posts, given.images)


VOC = Importer("voc", _read)
