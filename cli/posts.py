"""The posts that a command reads."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmner.data.oddities import Posts


def read_posts(given: Namespace, path: Path, split: str | None) -> Posts:
    """Read posts with the arguments that `gmner.cli.options.add_dataset` adds.

    Args:
        given: The parsed arguments.
        path: A JSONL file or the folder of a data set.
        split: The split; None: the data set has none.

    Raises:
        GmnerError: See `gmner.read_dataset`.
    """
    from gmner.data.readers.choose import read_dataset

    return read_dataset(path, split, given.images, format=given.format, instances=given.instances)
