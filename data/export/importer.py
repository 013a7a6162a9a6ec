"""`Importer`: how corrections made in another tool are read back as posts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gmner.data.oddities import Posts
from gmner.data.post import Post
from gmner.data.readers.image_folder import Folders


@dataclass(frozen=True, slots=True)
class Corrected:
    """What an importer reads: the arguments of `gmner.read_corrections`.

    Attributes:
        path: The file or folder that the other tool wrote.
        posts: The posts that were exported, for what the format cannot represent; None: they are not given.
        images: One or several image folders; None: the images of `posts`.
        split: The name of the split; None: none was named.
    """

    path: Path
    posts: Sequence[Post] | None = None
    images: Folders | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Importer:
    """A format that `gmner import --from` reads.

    Attributes:
        name: The name of the format.
        read: Reads the corrected posts. What a person left out or did twice belongs into `Posts.oddities`. Raises
            `DataError` if a file does not follow the format.
    """

    name: str
    read: Callable[[Corrected], Posts]
