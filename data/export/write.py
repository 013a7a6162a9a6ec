"""`write_export`: posts, and answers where there are some, as the file or folder of another tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmner.data.export.coco import categories_of, predictions_to_coco, to_coco
from gmner.data.export.label_studio import label_studio_config, to_label_studio
from gmner.data.export.source import types_of_all
from gmner.data.export.voc import NO_XML, write_voc
from gmner.data.files.atomic import whole_text
from gmner.data.jsonl import record_line
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.errors import InputError


def write_export(
    form: str, posts: Sequence[Post], predictions: Sequence[Prediction] | None, out: Path, split: str | None = None
) -> None:
    """Write posts in the form of another tool.

    Args:
        form: `coco` (a JSON file: the gold, or with predictions their results), `label-studio` (a JSON file of tasks,
            and the labeling configuration beside it as `.xml`) or `voc` (a folder, see `write_voc`).
        posts: The posts.
        predictions: Answers to them, or None.
        out: The file, or the folder of `voc`.
        split: The name of the split in `voc`.

    Raises:
        InputError: Another form, predictions for `voc`, which holds gold only, or a file of tasks that ends in `.xml`,
            as the configuration beside it does. Nothing is written then.
    """
    if form == "voc":
        if predictions is not None:
            raise InputError("Pascal VOC cannot represent predictions", remedy="Export without predictions")
        write_voc(posts, out, split or "train")
    elif form == "coco":
        labels = None if predictions is None else categories_of(posts, predictions)
        _write(out, to_coco(posts) if predictions is None else predictions_to_coco(predictions, posts, labels))
    elif form == "label-studio":
        if out.suffix == ".xml":
            accepted = "a name such as tasks.json: the labeling configuration is written beside it as .xml"
            raise InputError("The output for Label Studio must be a JSON file", received=str(out), accepted=accepted)
        tasks = to_label_studio(posts, predictions)
        labels = types_of_all(posts, predictions)
        if any(NO_XML.search(name) for name in labels):
            raise InputError("A type has a character that XML cannot represent", received=list(labels))
        config = label_studio_config(labels)
        _write(out, tasks)
        with whole_text(out.with_suffix(".xml")) as file:
            file.write(config)
    else:
        raise InputError("Unknown export format", received=form, accepted="coco, label-studio, voc")


def _write(path: Path, value: Any) -> None:
    text = record_line(value)  # before the file is opened
    with whole_text(path) as file:
        file.write(text)
