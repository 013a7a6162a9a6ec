"""`Exporter`: how posts are written in the format of another tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmner.data.files.atomic import whole_text
from gmner.data.jsonl import record_line
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.labels import LabelSet


@dataclass(frozen=True, slots=True)
class Export:
    """What an exporter writes, and where.

    Attributes:
        posts: The posts.
        predictions: Predictions for them; None: none were given.
        out: The file or folder to write to.
        split: The name of the split; None: none was named.
        image_url: The prefix of image file names in URLs; None: that of the format.
        labels: The types that people can choose; None: those that occur, see `types_of_all`.
    """

    posts: Sequence[Post]
    predictions: Sequence[Prediction] | None
    out: Path
    split: str | None = None
    image_url: str | None = None
    labels: LabelSet | None = None

    def write_json(self, value: Mapping[str, Any] | Sequence[Any]) -> None:
        """Write a value as JSON to `out`, completely or not at all."""
        text = record_line(value)  # before the file is opened
        with whole_text(self.out) as file:
            file.write(text)


@dataclass(frozen=True, slots=True)
class Exporter:
    """A format that `gmner export --to` writes.

    Attributes:
        name: The name of the format.
        write: Writes the export. Raises `InputError`, before anything is written, for what the format cannot represent,
            for example predictions.
        folder: Whether `write` fills a folder, which may contain other files; otherwise it writes a file.
        suffixes_beside: Suffixes of the files that `write` puts beside the output, in place of its own suffix.
        needs_confidence: Whether the format requires a score for each predicted box, so that 1.0 is written for boxes
            without a confidence.
        has_image_urls: Whether the format contains URLs of images, so that `image_url` has an effect.
        has_choices: Whether the format lists the types that people can choose, so that `labels` has an effect.
    """

    name: str
    write: Callable[[Export], None]
    folder: bool = False
    suffixes_beside: tuple[str, ...] = ()
    needs_confidence: bool = False
    has_image_urls: bool = False
    has_choices: bool = False

    def files(self, out: Path) -> list[Path]:
        """The files of an export to the file `out`."""
        return [out, *(out.with_suffix(suffix) for suffix in self.suffixes_beside if out.name)]
