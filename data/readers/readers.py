"""The data formats that can be read, one line each; `register` adds a format from outside the package."""

from __future__ import annotations

from gmner.data.oddities import Oddity, OddityLog, Posts
from gmner.data.readers import ccks, entity_json, grec, mner_mi, posts_file, real_photos, riveg, twitter
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.signatures.registry import Registry, check_type

__all__ = ["READERS", "DatasetLocation", "Oddity", "OddityLog", "Posts", "Reader", "register", "unregister"]

AUTO = "auto"
"""The name that asks for detection of the format."""

_BUILT_IN = (
    posts_file.JSONL,
    twitter.TWITTER_GMNER,
    twitter.TWITTER_FMNERG,
    twitter.TWITTER_FMNERG_COARSE,
    mner_mi.MNER_MI,
    mner_mi.MNER_MI_PLUS,
    grec.GREC,
    riveg.RIVEG,
    entity_json.ENTITY_JSON,
    entity_json.ENTITY_JSON_COARSE,
    ccks.CCKS,
    real_photos.REAL_PHOTOS,
)
READERS: Registry[Reader] = Registry("data format", {reader.name: reader for reader in _BUILT_IN}, reserved=[AUTO])
"""The readers by the name of their format."""


def register(reader: Reader) -> Reader:
    """Add a data format: `gmner.read_dataset` and `--format` accept its name.

    Args:
        reader: The reader. If it has `detects`, it is asked before the built-in readers when the format is `auto`.

    Returns:
        The reader itself.

    Raises:
        InputError: Not a `Reader`, a name that is not a word, or another format has this name.

    Example:
        >>> def read_lines(location):
        ...     lines = location.path.read_text(encoding="utf-8").splitlines()
        ...     return Posts([Post(str(number), line) for number, line in enumerate(lines, 1)])
        >>> from gmner.data.post import Post
        >>> register(Reader("lines", read_lines)).name
        'lines'
        >>> unregister("lines")
    """
    check_type(reader, Reader)
    READERS.add(reader.name, reader)
    return reader


def unregister(name: str) -> None:
    """Remove a data format that `register` added.

    Raises:
        InputError: No format with this name was registered.
    """
    READERS.remove(name)
