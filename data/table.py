"""Posts as a table of Hugging Face `datasets`, one row a post, and as examples of DSPy."""

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
from gmner.data.prediction_table import prediction_features, prediction_row
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
    """Posts or predictions as a `datasets.Dataset`, which can be mapped, saved and pushed.

    `from_dataset` reads posts again, `Prediction.from_record` each row of predictions, whose columns are the keys of
    `Prediction.to_record`, `more_boxes` and `confidence` in every entity.

    The columns of posts:

    | column | type | None |
    |---|---|---|
    | `id`, `text` | string | never |
    | `tokens` | list of string | the data set has none |
    | `image` | `Image`, decoded when a row is asked for | the post has none |
    | `more_images` | list of `Image` | never, but it may be empty |
    | `entities` | list of {`span`, `start`, `end`, `type`, `boxes`} | not annotated |
    | `scene` | list of {`name`, `type`, `box`, `attributes`, `covered`, `depth`}, see `SceneObject` | not known |
    | `slice` | string | of no slice |
    | `grounded` | bool | never |

    `start` and `end` are character offsets, a box is `[x1, y1, x2, y2]` in pixels of the original image. A path stays a
    path until `save_to_disk` or `push_to_hub`, which put the file itself into the table; a PIL image becomes the bytes
    of a PNG without loss.

    Raises:
        ImageError: A PIL image that cannot be encoded; the fact names the post.
        InputError: A text that is not Unicode (half of a surrogate pair), the fact names the post; or items that are
            neither all posts nor all predictions.
    """
    import datasets

    items: list[Any] = list(posts)
    if isinstance(posts, Predictions) or (items and all(isinstance(item, Prediction) for item in items)):
        features, rows = prediction_features(), [prediction_row(item) for item in items]
    elif all(isinstance(item, Post) for item in items):
        features, rows = _features(), [_row(item) for item in items]
    else:
        received = sorted({type(item).__name__ for item in items})
        raise InputError(
            "Items must be all posts or all predictions", received=received, accepted="posts, or predictions"
        )
    return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)


def from_dataset(
    dataset: datasets.Dataset,
    images: str | os.PathLike[str] | None = None,
    *,
    missing_images: MissingImages = "warn",
) -> Posts:
    """Posts of a table: one that `to_dataset` made, or one of your own.

    Your own needs the columns `id` (distinct) and `text`; any other column of `to_dataset` may be missing, and further
    columns are not read. `image` may hold paths, bytes, or an `Image` feature. An entity may lack `boxes`; where no
    entity of the table has them and there is no column `grounded`, the posts are not grounded: nobody drew boxes.

    Args:
        dataset: The table.
        images: The image folder; image paths must stay inside it. None: paths are used unchanged.
        missing_images: `warn`: a missing image keeps its path and is reported as an oddity, `missing_image`; `error`:
            it is a DataError.

    Returns:
        The posts, with what was odd, also about their boxes, see `gmner.data.readers.box_checks.odd_box`; an image
        that stands in the table as bytes is a PIL image not decoded yet.

    Raises:
        InputError: Not a `datasets.Dataset` (a `DatasetDict` holds several), or another value of `missing_images`.
        DataError: No such column, a value of another form, an id that occurs twice, or a missing image where that is
            an error; the fact names the row, counted from 0.
    """
    _check(dataset)
    folder = None if images is None else Path(images)
    defaults: dict[str, Any] = {} if _has_boxes(dataset) else {"grounded": False}
    posts, oddities, rows = list[Post](), list[Oddity](), dict[str, int]()
    for number, row in enumerate(_rows(dataset)):
        with located(f"row {number}"):
            post = _post(defaults | row, folder)
            if post.id in rows:
                raise DataError(f"the id of row {rows[post.id]} again", received=post.id)
        rows[post.id] = number
        posts.append(post)
        oddities += missing_pictures(post, f"row {number}", missing_images)
        oddities += box_oddities(post, f"row {number}")
    return Posts(posts, oddities)


def to_examples(posts: Iterable[Post]) -> list[dspy.Example]:
    """Posts as examples of DSPy, see `to_example`."""
    return [to_example(post) for post in posts]


def _features() -> Any:
    from datasets import Features, Image, List, Value

    string, box = Value("string"), List(Value("float64"))
    look = {"attributes": List(string), "covered": Value("float64"), "depth": Value("int64")}
    place = {"span": string, "start": Value("int64"), "end": Value("int64"), "type": string}
    return Features(
        {
            "id": string,
            "text": string,
            "tokens": List(string),
            "image": Image(),
            "more_images": List(Image()),
            "entities": List({**place, "boxes": List(box)}),
            "scene": List({"name": string, "type": string, "box": box, **look}),
            "slice": string,
            "grounded": Value("bool"),
        }
    )


def _row(post: Post) -> dict[str, Any]:
    with located(f"post {post.id!r}"):
        try:
            post.text.encode()
        except UnicodeEncodeError as error:
            raise InputError("The text is not Unicode", received=post.text, remedy=str(error)) from error
        pictures = {"image": _cell(post.image), "more_images": [_cell(picture) for picture in post.more_images]}
    return post_record(post) | pictures


def _cell(picture: Path | Image.Image | None) -> dict[str, Any] | None:
    if picture is None:
        return None
    if isinstance(picture, Image.Image):
        # The library itself would write a JPEG that PIL opened as a JPEG again.
        return {"bytes": encoded(picture)[0], "path": None}
    return {"bytes": None, "path": str(picture)}


def _check(dataset: object) -> None:
    import datasets

    if not isinstance(dataset, datasets.Dataset):
        accepted = "a datasets.Dataset; of a DatasetDict, one of its splits"
        raise InputError("Not a dataset of posts", received=type(dataset).__name__, accepted=accepted)
    for name in _REQUIRED:
        if name not in dataset.column_names:
            raise DataError(f"The table has no column `{name}`", received=dataset.column_names)


def _has_boxes(dataset: datasets.Dataset) -> bool:
    """Whether the entities of a table have a field `boxes`; True where the table has no entities."""
    entity = getattr(dataset.features.get("entities"), "feature", None)
    return not isinstance(entity, dict) or "boxes" in entity


def _rows(dataset: datasets.Dataset) -> Iterator[dict[str, Any]]:
    """The rows of the known columns as plain data; images stay paths and bytes, whatever the table's own format."""
    known = [name for name in _features() if name in dataset.column_names]
    for table in dataset.select_columns(known).with_format("arrow").iter(_BATCH):
        yield from table.to_pylist()


def _post(row: Mapping[str, Any], folder: Path | None) -> Post:
    image = row.get("image")
    # In a column that is no `Image` but {bytes, path}, a missing image is two nulls.
    image = None if image in (None, {"bytes": None, "path": None}) else _picture(image, folder)
    more = each(row.get("more_images"), "more_images", lambda cell: _picture(cell, folder)) or ()
    return record_post({**row, "entities": _with_boxes(row.get("entities"))}, image, more)


def _with_boxes(entities: object) -> object:
    """The entities of a row, with `boxes` where they lack them."""
    if not isinstance(entities, list):
        return entities
    return [{**item, "boxes": item.get("boxes") or []} if isinstance(item, dict) else item for item in entities]


def _picture(cell: object, folder: Path | None) -> Path | Image.Image:
    data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, cell)
    if isinstance(path, bytes):
        data = path
    if data is None:
        return checked_path(path, folder)
    with image_errors_as_data_errors():
        return open_lazily(data)
