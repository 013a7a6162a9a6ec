"""`write_export`: posts, and answers where there are some, as the file or folder of another tool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gmner.data.export.coco import predictions_to_coco, to_coco
from gmner.data.export.label_studio import label_studio_config, to_label_studio
from gmner.data.export.voc import write_voc
from gmner.data.files import whole_text
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.readers.labels import labels_of
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
        InputError: Another form, or predictions for `voc`, which holds gold only.
    """
    if form == "voc":
        if predictions is not None:
            raise InputError("Pascal VOC holds gold, not answers", remedy="Leave the predictions out")
        write_voc(posts, out, split or "train")
    elif form == "coco":
        _write(out, to_coco(posts) if predictions is None else predictions_to_coco(predictions, posts))
    elif form == "label-studio":
        _write(out, to_label_studio(posts, predictions))
        with whole_text(out.with_suffix(".xml")) as file:
            file.write(label_studio_config(labels_of(posts)))
    else:
        raise InputError("There is no such form", received=form, accepted="coco, label-studio, voc")


def _write(path: Path, value: object) -> None:
    with whole_text(path) as file:
        json.dump(value, file, ensure_ascii=False)
