"""Reading and writing posts and predictions as JSONL; errors name the file and the line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from gmner.data.files.atomic import add_picture, whole_text
from gmner.data.oddities import MissingImages, Oddity, Posts
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions, checked_object
from gmner.data.readers.box_checks import box_oddities
from gmner.data.records import (
    checked_path,
    each,
    located,
    missing_pictures,
    post_with_images,
    record_post,
)
from gmner.signatures.errors import DataError, InputError

__all__ = ["Prediction", "read_posts", "read_predictions", "write_posts", "write_predictions"]

_T = TypeVar("_T", Post, Prediction)
_OPTIONAL = {"image", "more_images", "entities", "tokens", "scene", "slice", "grounded"}


def read_posts(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    missing_images: MissingImages = "warn",
) -> Posts:
    """Read posts from JSONL, or from a folder that `write_posts` made.

    Each line is an object with `"id"` and `"text"`. The other keys are optional:

    - `"image"`: a path relative to `images`, or null; `"more_images"`: a list of paths.
    - `"entities"`: `[{"span", "start", "end", "type", "boxes": [[x1, y1, x2, y2]]}]` with character offsets and boxes
      in pixels of the original image. A post without this key is not annotated.
    - `"scene"`: `[{"name", "type", "box"}]`, optionally with `"attributes"`, `"covered"` and `"depth"`, see
      `SceneObject`.
    - `"tokens"`, `"slice"`, and `"grounded"` (false if the data set has no boxes).

    Args:
        path: The JSONL file, or a folder with `posts.jsonl`.
        images: The image folder; image paths must stay inside it. None: the file's folder.
        missing_images: `warn` keeps the path of a missing image and reports an oddity, `missing_image`; `error` raises
            a DataError.

    Returns:
        The posts and their oddities, including those of boxes, see `gmner.data.readers.box_checks.odd_box`.

    Raises:
        InputError: The file or the image folder does not exist, or `missing_images` is invalid.
        DataError: A line is not such an object, an id occurs twice, or an image is missing and `missing_images` is
            `error`. The message names file and line.
    """
    path = Path(path) / "posts.jsonl" if Path(path).is_dir() else Path(path)
    folder = path.parent if images is None else Path(images)
    if images is not None and not folder.is_dir():
        raise InputError("The image folder does not exist", received=str(folder))
    posts: list[Post] = []
    oddities: list[Oddity] = []
    for number, post in parse_posts(path, lambda value: checked_path(value, folder)):
        posts.append(post)
        oddities += missing_pictures(post, f"{path}:{number}", missing_images)
        oddities += box_oddities(post, f"{path}:{number}")
    return Posts(posts, oddities)


def write_posts(posts: Iterable[Post], folder: str | os.PathLike[str]) -> Path:
    """Write posts as `posts.jsonl` and their images as `images/*`; `read_posts(folder)` reads them again.

    Image files are copied byte for byte. PIL images are written as PNG, or as TIFF if PNG does not support their mode.
    Existing images are never replaced, so the posts may come from the same folder. An existing `posts.jsonl` is
    replaced last, when everything else is written.

    Returns:
        The path of `posts.jsonl`.

    Raises:
        ImageError: An image does not exist; the message names the post.
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    write_records(folder / "posts.jsonl", (written_post(post, number, folder) for number, post in enumerate(posts)))
    return folder / "posts.jsonl"


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read predictions from JSONL, see `Prediction.to_record`.

    Raises:
        InputError: The file does not exist.
        DataError: A line is not a prediction, or an id occurs twice. The message names file and line.
    """
    return Predictions(prediction for _, prediction in _read(Path(path), Prediction.from_record))


def write_predictions(predictions: Iterable[Prediction], path: str | os.PathLike[str]) -> None:
    """Write predictions atomically as JSONL, one line per post."""
    write_records(Path(path), (prediction.to_record() for prediction in predictions))


def parse_posts(path: Path, image_path: Callable[[object], Path]) -> Iterator[tuple[int, Post]]:
    """Iterate over the posts of a JSONL file with their line numbers, from 1.

    Args:
        path: The file.
        image_path: Converts the JSON value of an image to its path.

    Raises:
        InputError, DataError: See `read_posts`.
    """
    return _read(path, lambda record: _post(record, image_path))


def _read(path: Path, parse: Callable[[object], _T]) -> Iterator[tuple[int, _T]]:
    """Iterate over the items of a file with their line numbers, from 1."""
    lines: dict[str, int] = {}
    for number, line in _numbered_lines(path):
        with located(f"{path}:{number}"):
            item = parse(_json(line))
            if item.id in lines:
                raise DataError(f"the id already occurs in line {lines[item.id]}", received=item.id)
        lines[item.id] = number
        yield number, item


def _json(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", received=line, remedy=str(error)) from error


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise InputError("File not found", received=str(path), accepted="a JSONL file")
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8", remedy=str(error)) from error


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON objects atomically, one per line."""
    with whole_text(path) as file:
        for record in records:
            file.write(record_line(record) + "\n")


def record_line(record: Mapping[str, Any] | Sequence[Any]) -> str:
    """Serialize JSON data as one line, without a line end, that can be encoded as UTF-8."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        # JSON can only represent a lone surrogate, for example of a truncated emoji, as an escape.
        return json.dumps(record, allow_nan=False)
    return line


def _post(record: object, image_path: Callable[[object], Path]) -> Post:
    fields = checked_object(record, {"id", "text"}, "a post", _OPTIONAL)
    image = None if fields.get("image") is None else image_path(fields["image"])
    more_images = each(fields.get("more_images"), "more_images", image_path) or ()
    return record_post(fields, image, more_images)


def written_post(
    post: Post, number: int, folder: Path, existing: Container[Path] = (), root: Path | None = None
) -> dict[str, Any]:
    """Write the images of a post, and return its JSON record; unknown values have no key.

    Args:
        post: The post.
        number: Number of the post, which keeps file names distinct when two ids have the same slug.
        folder: The folder of `posts.jsonl`; images are written to `images/`.
        existing: Images that are already in `images/`.
        root: The folder that all other images must be in; None: any folder.

    Raises:
        ImageError: An image does not exist.
    """
    slug = f"{number:05d}_" + re.sub(r"[^A-Za-z0-9_-]+", "_", post.id)[:60]

    def name(image: Path | Image.Image, stem: str) -> str:
        if not isinstance(image, Path) or image not in existing:
            image = add_picture(image, folder / "images" / stem, root)
        return f"images/{image.name}"

    with located(f"post {post.id!r}"):
        first = [] if post.image is None else [name(post.image, slug)]
        paths = [*first, *(name(item, f"{slug}_{index}") for index, item in enumerate(post.more_images, 1))]
    return post_with_images(post, paths)
