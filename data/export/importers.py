"""The formats of `gmner import --from`, one line each; `register` adds a format from outside the package."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from gmner.data.export import from_coco, from_label_studio, from_voc
from gmner.data.export.importer import Corrected, Importer
from gmner.data.oddities import Posts
from gmner.data.post import Post
from gmner.data.readers.image_folder import Folders
from gmner.signatures.errors import InputError
from gmner.signatures.registry import Registry, check_type

__all__ = ["IMPORTERS", "Corrected", "Importer", "read_corrections", "register", "unregister"]

_BUILT_IN = (from_coco.COCO, from_label_studio.LABEL_STUDIO, from_voc.VOC)
IMPORTERS: Registry[Importer] = Registry("import format", {importer.name: importer for importer in _BUILT_IN})
"""The importers by the name of their format."""


def read_corrections(
    path: str | os.PathLike[str],
    format: str,
    posts: Iterable[Post] | None = None,
    images: Folders | None = None,
    *,
    split: str | None = None,
) -> Posts:
    """Read posts that were exported to another tool and corrected there.

    Args:
        path: The file that the tool wrote; for `voc`, the folder.
        format: The name of the format, one of `gmner.importers.IMPORTERS`: `coco`, `label-studio` or `voc`.
        posts: The exported posts. Their images, tokens, scenes and slices are kept. None: the posts consist of what the
            tool's files contain.
        images: One or several image folders; None: the images of `posts`.
        split: The split, for `voc`.

    Returns:
        The corrected posts. What a person left out or did twice is listed in `oddities`; see `from_label_studio`,
        `from_coco` and `from_voc`.

    Raises:
        InputError: The file, format, split or an image folder does not exist.
        DataError: A file does not follow its format; the error names the place.
    """
    importer, path = IMPORTERS.find(format), Path(path)
    if not path.exists():
        raise InputError("File or folder not found", received=str(path), accepted=f"corrections in the format {format}")
    return importer.read(Corrected(path, None if posts is None else list(posts), images, split))


def register(importer: Importer) -> Importer:
    """Add an import format: `gmner import --from` accepts its name.

    Args:
        importer: The importer.

    Returns:
        The importer itself.

    Raises:
        InputError: Not an `Importer`, a name that is not a word, or another format has this name.

    Example:
        >>> def read_texts(given):
        ...     return Posts(Post(text, text) for text in given.path.read_text(encoding="utf-8").splitlines())
        >>> register(Importer("texts", read_texts)).name
        'texts'
        >>> unregister("texts")
    """
    check_type(importer, Importer, "an")
    IMPORTERS.add(importer.name, importer)
    return importer


def unregister(name: str) -> None:
    """Remove an import format that `register` added.

    Raises:
        InputError: No format with this name was registered.
    """
    IMPORTERS.remove(name)
