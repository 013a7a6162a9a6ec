"""Conversion of posts to and from Hugging Face `datasets`, and to DSPy examples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from gmner.data.files.atomic import encoded
from gmner.data.images.opening import open_lazily
from gmner.data.oddities import MissingImages, Oddity, Posts
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.prediction_table import names_pictures, prediction_features, prediction_row
from gmner.data.readers.box_checks import box_oddities
from gmner.data.records import (
    checked_path,
    each,
    image_errors_as_data_errors,
    located,
    missing_pictures,
    post_record,
    record_post,
)
from gmner.data.scoring.metric import to_example
from gmner.signatures.errors import DataError, InputError

if TYPE_CHECKING:
    import datasets
    import dspy

_REQUIRED = ("id", "text")
_BATCH = 100


def to_dataset(posts: Iterable[Post] | Iterable[Prediction]) -> datasets.Dataset:
    """Convert posts or predictions to a `datasets.Dataset`, one row each.

    `from_dataset` converts posts back. The columns of predictions are the keys of `Prediction.to_record`, with
    `more_boxes` and `confidence` in every entity, and `thinking` in every row if there is any.
    `Prediction.from_record` reads a row.

    The columns of posts:

    | column | type | None |
    |---|---|---|
    | `id`, `text` | string | never |
    | `tokens` | list of string | the data set has no tokens |
    | `image` | `Image`, decoded when a row is accessed | the post has no image |
    | `more_images` | list of `Image` | never, but the list may be empty |
    | `entities` | list of {`span`, `start`, `end`, `type`, `boxes`} | not annotated |
    | `scene` | list of {`name`, `type`, `box`, `attributes`, `covered`, `depth`}, see `SceneObject` | unknown |
    | `slice` | string | the post has no slice |
    | `grounded` | bool | never |

    If not all boxes are in the first image of their post, entities also have `pictures`, the number of the image of
    each box (counted from 1), and objects of a scene `picture`.

    `start` and `end` are character offsets, a box is `[x1, y1, x2, y2]` in pixels of the original image. Image paths
    are stored as paths; `save_to_disk` and `push_to_hub` embed the files. PIL images are encoded losslessly, as PNG.

    Raises:
        ImageError: A PIL image cannot be encoded; the message names the post.
        InputError: A text contains a lone surrogate (the message names the post), or the items are neither all posts
            nor all predictions.
    """
    import datasets

    items: list[Any] = list(posts)
    if isinstance(posts, Predictions) or (items and all(isinstance(item, Prediction) for item in items)):
        thinking = any(item.thinking for item in items)
        features = prediction_features(several=any(map(names_pictures, items)), thinking=thinking)
        rows = [prediction_row(item) for item in items]
    elif all(isinstance(item, Post) for item in items):
        rows = [_row(item) for item in items]
        features = _features(several=any(_names_pictures(row) for row in rows))
    else:
        received = sorted({type(item).__name__ for item in items})
        raise InputError(
            "Items must be all posts or all predictions", received=received, accepted="posts or predictions"
        )
    return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)


def from_dataset(
    dataset: datasets.Dataset,
    images: str | os.PathLike[str] | None = None,
    *,
    missing_images: MissingImages = "warn",
) -> Posts:
    """Convert a table to posts: one that `to_dataset` made, or your own.

    A table needs the columns `id` (unique) and `text`. All other columns of `to_dataset` are optional, and further
    columns are ignored. `image` may contain paths, bytes, or an `Image` feature. `boxes` of an entity are optional; if
    no entity of the table has them and there is no column `grounded`, the posts are not grounded.

    Args:
        dataset: The table.
        images: The image folder; image paths must stay inside it. None: paths are used unchanged.
        missing_images: `warn` keeps the path of a missing image and reports an oddity, `missing_image`; `error` raises
            a DataError.

    Returns:
        The posts and their oddities, including those of boxes, see `gmner.data.readers.box_checks.odd_box`. Images
        that the table contains as bytes are PIL images that are decoded on first use.

    Raises:
        InputError: `dataset` is not a `datasets.Dataset` (a `DatasetDict` contains several), or `missing_images` is
            invalid.
        DataError: A required column is missing, a value is invalid, an id occurs twice, or an image is missing and
            `missing_images` is `error`. The message names the row, counted from 0.
    """
    _check(dataset)
    folder = None if images is None else Path(images)
    defaults: dict[str, Any] = {} if _has_boxes(dataset) else {"grounded": False}
    posts, oddities, rows = list[Post](), list[Oddity](), dict[str, int]()
    for number, row in enumerate(_rows(dataset)):
        with located(f"row {number}"):
            post = _post(defaults | row, folder)
            if post.id in rows:
                raise DataError(f"the id already occurs in row {rows[post.id]}", received=post.id)
        rows[post.id] = number
        posts.append(post)
        oddities += missing_pictures(post, f"row {number}", missing_images)
        oddities += box_oddities(post, f"row {number}")
    return Posts(posts, oddities)


def to_examples(posts: Iterable[Post]) -> list[dspy.Example]:
    """Convert posts to DSPy examples, see `to_example`."""
    return [to_example(post) for post in posts]


def _names_pictures(row: Mapping[str, Any]) -> bool:
    """Whether the row of a post has a box that is not in the first image."""
    scene, entities = row["scene"] or (), row["entities"] or ()
    return any("picture" in thing for thing in scene) or any("pictures" in entity for entity in entities)


def _features(*, several: bool = False) -> Any:
    from datasets import Features, Image, List, Value

    string, box = Value("string"), List(Value("float64"))
    appearance = {"attributes": List(string), "covered": Value("float64"), "depth": Value("int64")}
    mention = {"span": string, "start": Value("int64"), "end": Value("int64"), "type": string}
    pictures = {"pictures": List(Value("int64"))} if several else {}
    picture = {"picture": Value("int64")} if several else {}
    return Features(
        {
            "id": string,
            "text": string,
            "tokens": List(string),
            "image": Image(),
            "more_images": List(Image()),
            "entities": List({**mention, "boxes": List(box), **pictures}),
            "scene": List({"name": string, "type": string, "box": box, **appearance, **picture}),
            "slice": string,
            "grounded": Value("bool"),
        }
    )


def _row(post: Post) -> dict[str, Any]:
    with located(f"post {post.id!r}"):
        try:
            post.text.encode()
        except UnicodeEncodeError as error:
            raise InputError("The text cannot be encoded as UTF-8", received=post.text, remedy=str(error)) from error
        images = {"image": _cell(post.image), "more_images": [_cell(image) for image in post.more_images]}
    return post_record(post) | images


def _cell(image: Path | Image.Image | None) -> dict[str, Any] | None:
    if image is None:
        return None
    if isinstance(image, Image.Image):
        # `datasets` would encode an image that was opened from a JPEG as JPEG, with loss.
        return {"bytes": encoded(image)[0], "path": None}
    return {"bytes": None, "path": str(image)}


def _check(dataset: object) -> None:
    import datasets

    if not isinstance(dataset, datasets.Dataset):
        accepted = "a datasets.Dataset, for example one split of a DatasetDict"
        raise InputError("Not a dataset of posts", received=type(dataset).__name__, accepted=accepted)
    for name in _REQUIRED:
        if name not in dataset.column_names:
            raise DataError(f"The table has no column `{name}`", received=dataset.column_names)


def _has_boxes(dataset: datasets.Dataset) -> bool:
    """Whether the entities of a table have a field `boxes`; True if the table has no entities."""
    entity = getattr(dataset.features.get("entities"), "feature", None)
    return not isinstance(entity, dict) or "boxes" in entity


def _rows(dataset: datasets.Dataset) -> Iterator[dict[str, Any]]:
    """Iterate over the rows of the known columns; images are paths or bytes, independent of the format of the table."""
    columns = [name for name in _features() if name in dataset.column_names]
    for table in dataset.select_columns(columns).with_format("arrow").iter(_BATCH):
        yield from table.to_pylist()


def _post(row: Mapping[str, Any], folder: Path | None) -> Post:
    image = row.get("image")
    # A column of {bytes, path} that is not an `Image` feature represents a missing image as two nulls.
    image = None if image in (None, {"bytes": None, "path": None}) else _image(image, folder)
    more_images = each(row.get("more_images"), "more_images", lambda cell: _image(cell, folder)) or ()
    return record_post({**row, "entities": _with_boxes(row.get("entities"))}, image, more_images)


def _with_boxes(entities: object) -> object:
    """Add empty `boxes` to the entities of a row that have none."""
    if not isinstance(entities, list):
        return entities
    return [{**item, "boxes": item.get("boxes") or []} if isinstance(item, dict) else item for item in entities]


def _image(cell: object, folder: Path | None) -> Path | Image.Image:
    data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, cell)
    if isinstance(path, bytes):
        data = path
    if data is None:
        return checked_path(path, folder)
    with image_errors_as_data_errors():
        return open_lazily(data)
