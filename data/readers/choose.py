"""`read_dataset`: reads posts in any format."""

from __future__ import annotations

import os
from pathlib import Path

from gmner.data.oddities import Posts
from gmner.data.readers.image_folder import Folders
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.data.readers.readers import AUTO, READERS
from gmner.data.readers.sources import split_required
from gmner.data.readers.twitter import TWITTER_GMNER
from gmner.signatures.errors import InputError


def read_dataset(
    path: str | os.PathLike[str],
    split: str | None = None,
    images: Folders | None = None,
    *,
    format: str = "auto",
    instances: str | os.PathLike[str] | None = None,
    joiner: str | None = None,
    most_targets: int | None = None,
) -> Posts:
    """Read posts in any format.

    With `auto`, the readers that were added by `gmner.readers.register` are asked first, the latest one before the
    others. Otherwise the content decides. A folder has `posts.jsonl`, `txt/` (Twitter-GMNER), `txt_fine/` without
    `txt/` (Twitter-FMNERG), `text/` (MNER-MI) or `*_text.json` (CCKS-2025). A file has lines of RiVEG, the JSON of SAKE
    and UnCo, or else JSONL posts.

    Args:
        path: The file or the folder; for posts of an installed package, the name of their format (`real-photos`).
        split: The split, if the format has splits.
        images: One or several image folders; None: the folder that belongs to `path`.
        format: `auto`, or the name of a format, one of `gmner.readers.READERS`.
        instances: COCO's `instances.json`, for GREC.
        joiner: What separates the tokens in the texts of formats that store tokens (Twitter-GMNER, Twitter-FMNERG,
            MNER-MI, SAKE, UnCo); None: a space. Data in a script without spaces needs `joiner=""`.
        most_targets: For GREC, see `gmner.read_grec`.

    Raises:
        InputError: The path, the format or the split does not exist, or the format does not use `instances`, `joiner`
            or `most_targets`.
        DataError: A file does not follow its format.
    """
    path = Path(path)
    location = DatasetLocation(
        path,
        split or "",
        images,
        instances=None if instances is None else Path(instances),
        joiner=" " if joiner is None else joiner,
        most_targets=most_targets,
    )
    reader = _reader(location, format)
    _refuse_unused(reader, instances=instances, joiner=joiner, most_targets=most_targets)
    with split_required(path, split):
        return reader.read(location)


def detect(path: str | os.PathLike[str]) -> Reader:
    """The reader that `auto` chooses for a path.

    Raises:
        InputError: The path does not exist.
    """
    return _reader(DatasetLocation(Path(path)), AUTO)


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


def _refuse_unused(reader: Reader, **options: object) -> None:
    """Refuse options that are given, and that the format of the reader does not use."""
    for name, value in options.items():
        if value is not None and name not in reader.options:
            formats = ", ".join(other.name for other in READERS.values() if name in other.options)
            fact = f"The format {reader.name} does not use {name}"
            raise InputError(fact, received=value, accepted=f"formats {formats}", remedy=f"Leave {name} out")


def _detected(location: DatasetLocation) -> Reader:
    """The reader that was registered last among those that detect their format; a folder may be Twitter-GMNER."""
    readers = (reader for reader in [*READERS.values()][::-1] if reader.detects(location))
    return next(readers, TWITTER_GMNER)
