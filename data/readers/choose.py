"""`read_dataset`: reads posts in any format. `read_answers`: reads predictions in any format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from gmner.data.jsonl import read_posts, read_predictions
from gmner.data.oddities import Posts
from gmner.data.post import Post
from gmner.data.prediction import Predictions
from gmner.data.readers.grec import read_grec
from gmner.data.readers.image_folder import Folders
from gmner.data.readers.mner_mi import read_mner_mi
from gmner.data.readers.triples import read_triples
from gmner.data.readers.twitter import read_twitter_fmnerg, read_twitter_gmner
from gmner.signatures.errors import InputError

_Reader: TypeAlias = Callable[[Path, str, Folders | None, Path | None], Posts]


def read_dataset(
    path: str | os.PathLike[str],
    split: str | None = None,
    images: Folders | None = None,
    *,
    format: str = "auto",
    instances: str | os.PathLike[str] | None = None,
) -> Posts:
    """Read posts in any of the supported formats.

    With `format="auto"`, a file is read as JSONL. A folder is read by what it contains: `posts.jsonl`, `txt/`
    (Twitter-GMNER), only `txt_fine/` (Twitter-FMNERG), or `text/` (MNER-MI).

    Args:
        path: The file or the folder.
        split: The split, if the format has splits.
        images: One or several image folders. None: the folder that belongs to `path`.
        format: `auto`, `jsonl`, `twitter`, `fmnerg`, `fmnerg-coarse`, `mner-mi`, `mner-mi-plus` or `grec`.
        instances: COCO's `instances.json`; only for GREC.

    Raises:
        InputError: The path does not exist, the format is unknown, or the split does not exist.
        DataError: A file does not follow its format.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("File or folder not found", received=str(path), accepted="a JSONL file or a data set folder")
    name = _detected_format(path) if format == "auto" else format
    if name not in FORMATS:
        raise InputError("Unknown data format", received=format, accepted=", ".join(("auto", *FORMATS)))
    try:
        return FORMATS[name](path, split or "", images, None if instances is None else Path(instances))
    except InputError as error:
        if split or error.received != "":
            raise
        raise InputError(
            f"{path} has splits", received=split, accepted=error.accepted, remedy="Name one: --split, or split="
        ) from error


def read_answers(path: str | os.PathLike[str], posts: Sequence[Post]) -> Predictions:
    """Read the answers of any system: JSONL predictions, or triples (see `read_triples`), told apart by the first line.

    Args:
        path: The file.
        posts: The posts that were answered; triples without ids stand in their order.

    Raises:
        InputError: No such file.
        DataError: A line of neither form; the fact names file and line.
    """
    path = Path(path)
    if path.is_file() and not _is_prediction(path):
        return read_triples(path, posts)
    return Predictions(read_predictions(path), posts)


def _detected_format(path: Path) -> str:
    if path.is_file() or (path / "posts.jsonl").is_file():
        return "jsonl"
    if (path / "text").is_dir() and not (path / "txt").is_dir():
        return "mner-mi"
    return "fmnerg" if (path / "txt_fine").is_dir() and not (path / "txt").is_dir() else "twitter"


def _is_prediction(path: Path) -> bool:
    """Whether the first line that is not blank is a JSON object with predictions, or nothing is there."""
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"{}").removeprefix(b"\xef\xbb\xbf")
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return first.lstrip().startswith(b"{")
    return not (isinstance(record, dict) and any(name.startswith("response_") for name in record))


def _jsonl(path: Path, split: str, images: Folders | None, instances: Path | None) -> Posts:
    if images is not None and not isinstance(images, (str, os.PathLike)):
        folders = list(images)
        if len(folders) > 1:
            raise InputError("A JSONL file can have only one image folder", received=folders)
        images = folders[0] if folders else None
    return read_posts(path, images)


def _grec(path: Path, split: str, images: Folders | None, instances: Path | None) -> Posts:
    if instances is None:
        raise InputError("GREC needs the boxes of COCO", accepted="instances.json", remedy="Pass instances=")
    return read_grec(path, instances, split, images)


FORMATS: Mapping[str, _Reader] = MappingProxyType(
    {
        "jsonl": _jsonl,
        "twitter": lambda path, split, images, _: read_twitter_gmner(path, split, images),
        "fmnerg": lambda path, split, images, _: read_twitter_fmnerg(path, split, images),
        "fmnerg-coarse": lambda path, split, images, _: read_twitter_fmnerg(path, split, images, granularity="coarse"),
        "mner-mi": lambda path, split, images, _: read_mner_mi(path, split or "train", images),
        "mner-mi-plus": lambda path, split, images, _: read_mner_mi(path, split or "train", images, corpus="MNER-UNI"),
        "grec": _grec,
    }
)
"""The readers by the name of their format."""
