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
    post_record,
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

    A line is `{"id", "text"}` with, where known, `"image"` (a path relative to `images`, or null), `"more_images"` (a
    list of paths), `"entities"` (`[{"span", "start", "end", "type", "boxes": [[x1, y1, x2, y2]]}]`: character offsets,
    pixels of the original image; without it the post is not annotated), `"tokens"`, `"scene"` (`[{"name", "type",
    "box"}]`, and `"attributes"`, `"covered"`, `"depth"`, see `SceneObject`), `"slice"` and
    `"grounded"` (false: nobody drew boxes).

    Args:
        path: The JSONL file, or a folder with `posts.jsonl`.
        images: The image folder; image paths must stay inside it. None: the file's folder.
        missing_images: `warn`: a missing image keeps its path and is reported as an oddity, `missing_image`; `error`:
            it is a DataError.

    Returns:
        The posts, with what was odd, also about their boxes, see `gmner.data.readers.box_checks.odd_box`.

    Raises:
        InputError: No such file or folder of images, or another value of `missing_images`.
        DataError: A line that is not such an object, an id that occurs twice, or a missing image where that is an
            error; the fact names file and line.
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

    An image on disk is copied byte for byte, a PIL image is written as PNG (TIFF where PNG has no such mode). No
    image that is there is replaced, so the posts may come from the same folder, and a `posts.jsonl` that was there
    holds until the new one appears, when all is written.

    Returns:
        The path of `posts.jsonl`.

    Raises:
        ImageError: An image that does not exist; the fact names the post.
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    write_records(folder / "posts.jsonl", (written_post(post, number, folder) for number, post in enumerate(posts)))
    return folder / "posts.jsonl"


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read predictions from JSONL, see `Prediction.to_record`.

    Raises:
        InputError: No such file.
        DataError: A line that is not a prediction, or an id that occurs twice; the fact names file and line.
    """
    return Predictions(prediction for _, prediction in _read(Path(path), Prediction.from_record))


def write_predictions(predictions: Iterable[Prediction], path: str | os.PathLike[str]) -> None:
    """Write predictions as JSONL, one line a post, atomically: the file appears whole or not at all."""
    write_records(Path(path), (prediction.to_record() for prediction in predictions))


def parse_posts(path: Path, picture: Callable[[object], Path]) -> Iterator[tuple[int, Post]]:
    """The posts of a JSONL file with the numbers of their lines, from 1.

    Args:
        path: The file.
        picture: The path of an image, from what stands for it in the line.

    Raises:
        InputError, DataError: See `read_posts`.
    """
    return _read(path, lambda record: _post(record, picture))


def _read(path: Path, parse: Callable[[object], _T]) -> Iterator[tuple[int, _T]]:
    """The items of a file with the numbers of their lines, from 1."""
    lines: dict[str, int] = {}
    for number, line in _numbered_lines(path):
        with located(f"{path}:{number}"):
            item = parse(_json(line))
            if item.id in lines:
                raise DataError(f"the id of line {lines[item.id]} again", received=item.id)
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
    """Write JSON objects one a line, atomically."""
    with whole_text(path) as file:
        for record in records:
            file.write(record_line(record) + "\n")


def record_line(record: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON data as one line without its line end, which UTF-8 can encode."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, as a cut emoji leaves it, can only stand in JSON as an escape.
        return json.dumps(record, allow_nan=False)
    return line


def _post(record: object, picture: Callable[[object], Path]) -> Post:
    fields = checked_object(record, {"id", "text"}, "a post", _OPTIONAL)
    image = None if fields.get("image") is None else picture(fields["image"])
    more = each(fields.get("more_images"), "more_images", picture) or ()
    return record_post(fields, image, more)


def written_post(
    post: Post, number: int, folder: Path, there: Container[Path] = (), root: Path | None = None
) -> dict[str, Any]:
    """Write a post's images, and give its line; what is not known has no key.

    Args:
        post: The post.
        number: Keeps two ids with the same slug apart.
        folder: The folder of `posts.jsonl`; the images go to `images/`.
        there: Images that have their place in `images/` already.
        root: The folder that the other images must lie in; None: any.

    Raises:
        ImageError: An image that does not exist.
    """
    slug = f"{number:05d}_" + re.sub(r"[^A-Za-z0-9_-]+", "_", post.id)[:60]

    def name(picture: Path | Image.Image, stem: str) -> str:
        if not isinstance(picture, Path) or picture not in there:
            picture = add_picture(picture, folder / "images" / stem, root)
        return f"images/{picture.name}"

    with located(f"post {post.id!r}"):
        image = None if post.image is None else name(post.image, slug)
        more = [name(picture, f"{slug}_{index}") for index, picture in enumerate(post.more_images, 1)]
    record: dict[str, Any] = {"id": post.id, "text": post.text, "image": image}
    record |= {"more_images": more} if more else {}
    record |= {key: value for key, value in post_record(post).items() if value is not None and key != "grounded"}
    return record if post.grounded else {**record, "grounded": False}
