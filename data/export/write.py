"""`write_export`: posts, and predictions if given, as the file or folder of another tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gmner.data.export.exporter import Export
from gmner.data.export.exporters import EXPORTERS
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet


def write_export(
    form: str,
    posts: Sequence[Post],
    predictions: Sequence[Prediction] | None,
    out: Path,
    split: str | None = None,
    *,
    image_url: str | None = None,
    labels: LabelSet | None = None,
) -> None:
    """Write posts in the format of another tool.

    Args:
        form: The name of the format, one of `gmner.exporters.EXPORTERS`: `coco` (a JSON file with the gold annotation,
            or the predictions as results), `label-studio` (a JSON file of tasks, and the labeling configuration beside
            it as `.xml`) or `voc` (a folder, see `write_voc`).
        posts: The posts.
        predictions: Predictions for them, or None.
        out: The file; for `voc`, the folder.
        split: The name of the split in `voc`.
        image_url: The prefix of image file names in URLs, for `label-studio`; None: `/data/local-files/?d=`.
        labels: The types that people can choose in `label-studio`; those that occur besides are added. None: those that
            occur, and the default types if all of them belong to these.

    Raises:
        InputError: The format does not exist, or cannot represent the posts or predictions. Nothing is written then.
    """
    exporter = EXPORTERS.find(form)
    if image_url is not None and not exporter.has_image_urls:
        accepted = ", ".join(name for name, other in EXPORTERS.items() if other.has_image_urls)
        raise InputError(f"The format {form} contains no URLs of images", received=image_url, accepted=accepted)
    if labels is not None and not exporter.has_choices:
        accepted = ", ".join(name for name, other in EXPORTERS.items() if other.has_choices)
        raise InputError(f"The format {form} has no list of types to choose from", received=labels.names,
                         accepted=accepted)  # fmt: skip
    exporter.write(Export(posts, predictions, out, split, image_url, labels))
