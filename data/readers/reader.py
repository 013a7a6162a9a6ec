"""`Reader`: how posts of one data format are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gmner.data.oddities import Posts
from gmner.data.readers.image_folder import Folders


@dataclass(frozen=True, slots=True)
class DatasetLocation:
    """Where the posts are that a reader reads: the arguments of `gmner.read_dataset`.

    Attributes:
        path: The file or folder, which exists unless the reader needs none.
        split: The name of the split; empty if none was named.
        images: One or several image folders; None: the folder that belongs to `path`.
        instances: COCO's `instances.json`, for GREC.
        joiner: What separates the tokens of a format that stores tokens: white space, or nothing.
        most_targets: For GREC, the largest number of targets of an expression that is read; None: all are read.
    """

    path: Path
    split: str = ""
    images: Folders | None = None
    instances: Path | None = None
    joiner: str = " "
    most_targets: int | None = None

    def folder_with(self, name: str, *, without: tuple[str, ...] = ()) -> bool:
        """Whether `path` is a folder with a subfolder `name`, but without any of the entries in `without`."""
        return (self.path / name).is_dir() and not any((self.path / other).exists() for other in without)


def _never(location: DatasetLocation) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Reader:
    """A data format that `gmner.read_dataset` and the command line read.

    Attributes:
        name: The name of the format, for `format=` and `--format`.
        read: Reads the posts. What is unusual in the files belongs into `Posts.oddities`. Raises `InputError` if the
            split does not exist, and `DataError` if a file does not follow the format.
        detects: Whether the files have this format, for `format="auto"`. By default, the format must be named.
        needs_path: Whether the posts are in a file or folder. Otherwise the name of the format stands for them, as in
            `gmner.read_dataset("real-photos")`.
        options: Which of `instances`, `joiner` and `most_targets` the format uses. `gmner.read_dataset` refuses the
            others.
    """

    name: str
    read: Callable[[DatasetLocation], Posts]
    detects: Callable[[DatasetLocation], bool] = _never
    needs_path: bool = True
    options: tuple[str, ...] = ()
