"""`read_dataset`: reads posts in any format. `read_answers`: reads predictions in any format."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from gmner.data.jsonl import read_predictions
from gmner.data.oddities import Posts
from gmner.data.post import Post
from gmner.data.prediction import Predictions
from gmner.data.readers.image_folder import Folders
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.data.readers.readers import AUTO, READERS
from gmner.data.readers.sources import split_required
from gmner.data.readers.triples import read_triples
from gmner.data.readers.twitter import TWITTER_GMNER
from gmner.signatures.errors import InputError


def read_dataset(
    path: str | os.PathLike[str],
    split: str | None = None,
    images: Folders | None = None,
    *,
    format: str = "auto",
    instances: str | os.PathLike[str] | None = None,
) -> Posts:
    """Read posts in any format.

    With `auto`, the readers that were added by `gmner.readers.register` are asked first, the latest one before the
    others. Otherwise a file is read as JSONL posts, and a folder by its content: `posts.jsonl`, `txt/` (Twitter-GMNER),
    `txt_fine/` without `txt/` (Twitter-FMNERG) or `text/` (MNER-MI).

    Args:
        path: The file or the folder; for posts of an installed package, the name of their format (`real-photos`).
        split: The split, if the format has splits.
        images: One or several image folders; None: the folder that belongs to `path`.
        format: `auto`, or the name of a format, one of `gmner.readers.READERS`.
        instances: COCO's `instances.json`, for GREC.

    Raises:
        InputError: The path, the format or the split does not exist.
        DataError: A file does not follow its format.
    """
    path = Path(path)
    location = DatasetLocation(path, split or "", images, None if instances is None else Path(instances))
    reader = _reader(location, format)
    with split_required(path, split):
        return reader.read(location)


def read_answers(path: str | os.PathLike[str], posts: Sequence[Post]) -> Predictions:
    """Read the predictions of any system: JSONL, or triples (see `read_triples`), depending on the first line.

    Args:
        path: The file.
        posts: The posts that the predictions are for; triples without ids must be in their order.

    Raises:
        InputError: The file does not exist.
        DataError: A line has neither form; the message names file and line.
    """
    path = Path(path)
    if path.is_file() and not _is_prediction(path):
        return read_triples(path, posts)
    return Predictions(read_predictions(path), posts)


def _reader(location: DatasetLocation, format: str) -> Reader:
    """The reader that is named, or that detects its format."""
    named = None if format == AUTO else READERS.find(format, also=[AUTO])
    if location.path.exists():
        return named or _detected(location)
    own = READERS.get(str(location.path))
    if own is None or own.needs_path or named not in (None, own):
        names = ", ".join(reader.name for reader in READERS.values() if not reader.needs_path)
        accepted = f"a JSONL file, a data set folder, or {names}"
        raise InputError("File or folder not found", received=str(location.path), accepted=accepted)
    return own


def _detected(location: DatasetLocation) -> Reader:
    """The reader that was registered last among those that detect their format; a folder may be Twitter-GMNER."""
    readers = (reader for reader in [*READERS.values()][::-1] if reader.detects(location))
    return next(readers, TWITTER_GMNER)


def _is_prediction(path: Path) -> bool:
    """Whether the first line that is not blank is a prediction as JSON; also True for an empty file."""
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"{}").removeprefix(b"\xef\xbb\xbf")
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return first.lstrip().startswith(b"{")
    return not (isinstance(record, dict) and any(name.startswith("response_") for name in record))
