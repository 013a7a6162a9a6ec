"""Posts and predictions as JSONL: one object a line, every fault with file and line."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from PIL import Image

from gmner.data.images import local_path
from gmner.data.post import Post, SceneObject
from gmner.data.prediction import Prediction, checked_box, checked_object, checked_place, checked_string
from gmner.signatures.errors import DataError, ImageError, InputError
from gmner.signatures.mentions import GoldEntity

__all__ = ["Prediction", "read_posts", "read_predictions", "write_posts", "write_predictions"]

_T = TypeVar("_T", Post, Prediction)
_OPTIONAL = {"image", "entities", "tokens", "scene", "slice"}


def read_posts(path: str | os.PathLike[str], images: str | os.PathLike[str] | None = None) -> list[Post]:
    """Read posts from JSONL, or from a folder that `write_posts` made.

    A line is `{"id", "text"}` with, where known, `"image"` (a path relative to `images`, or null), `"entities"`
    (`[{"span", "start", "end", "type", "boxes": [[x1, y1, x2, y2]]}]`: character offsets, pixels of the original
    image; without it the post is not annotated), `"tokens"`, `"scene"` (`[{"name", "type", "box"}]`) and `"slice"`.
    A picture that is missing is found out when it is opened.

    Args:
        path: The JSONL file, or a folder with `posts.jsonl`.
        images: The folder of the pictures, which no path may leave; None: the file's folder.

    Raises:
        InputError: No such file.
        DataError: A line that is not such an object, or an id that occurs twice; the fact names file and line.
    """
    path = Path(path) / "posts.jsonl" if Path(path).is_dir() else Path(path)
    folder = path.parent if images is None else Path(images)
    return _read(path, lambda record: _post(record, folder))


def write_posts(posts: Iterable[Post], folder: str | os.PathLike[str]) -> Path:
    """Write posts as `posts.jsonl` and their pictures as `images/*`; `read_posts(folder)` reads them again.

    A picture on disk is copied byte for byte, a PIL image is written as PNG. The JSONL appears when all is written.

    Returns:
        The path of `posts.jsonl`.

    Raises:
        ImageError: A picture that does not exist.
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    records = ({**_post_record(post), "image": _write_picture(post, n, folder)} for n, post in enumerate(posts))
    _write(folder / "posts.jsonl", records)
    return folder / "posts.jsonl"


def read_predictions(path: str | os.PathLike[str]) -> list[Prediction]:
    """Read predictions from JSONL, see `Prediction.to_record`.

    Raises:
        InputError: No such file.
        DataError: A line that is not a prediction, or an id that occurs twice; the fact names file and line.
    """
    return _read(Path(path), Prediction.from_record)


def write_predictions(predictions: Iterable[Prediction], path: str | os.PathLike[str]) -> None:
    """Write predictions as JSONL, one line a post, atomically: the file appears whole or not at all."""
    _write(Path(path), (prediction.to_record() for prediction in predictions))


def _read(path: Path, parse: Callable[[object], _T]) -> list[_T]:
    found: list[_T] = []
    lines: dict[str, int] = {}
    for number, line in _numbered_lines(path):
        try:
            item = parse(json.loads(line))
        except DataError as error:
            raise DataError(
                f"{path}:{number}: {error.fact}",
                received=error.received,
                accepted=error.accepted,
                remedy=error.remedy,
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON", received=line, remedy=str(error)) from error
        if item.id in lines:
            raise DataError(f"{path}:{number}: the id of line {lines[item.id]} again", received=item.id)
        lines[item.id] = number
        found.append(item)
    return found


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise InputError("There is no such file", received=str(path), accepted="a JSONL file")
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8", remedy=str(error)) from error


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with _atomic(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def _atomic(path: Path) -> Iterator[IO[str]]:
    """A text file that takes the place of `path` when all of it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with draft.open("x", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _post(record: object, folder: Path) -> Post:
    fields = checked_object(record, {"id", "text"}, "a post", _OPTIONAL)
    text = checked_string(fields["text"], "text")
    slice_ = fields.get("slice")
    return Post(
        id=checked_string(fields["id"], "id"),
        text=text,
        image=_picture(fields.get("image"), folder),
        entities=_each(fields.get("entities"), "entities", lambda item: _gold(item, text)),
        tokens=_each(fields.get("tokens"), "tokens", lambda item: checked_string(item, "token")),
        scene=_each(fields.get("scene"), "scene", _scene_object),
        slice=None if slice_ is None else checked_string(slice_, "slice"),
    )


def _each(value: object, name: str, parse: Callable[[object], Any]) -> tuple[Any, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise DataError(f"`{name}` is not a list", received=value)
    return tuple(parse(item) for item in value)


def _picture(value: object, folder: Path) -> Path | None:
    if value is None:
        return None
    name = checked_string(value, "image")
    if name[:5].lower() == "data:":
        raise DataError("A picture stands in the line", received=name[:20], accepted="a path of a file")
    try:
        local_path(name, folder)
    except ImageError as error:
        raise DataError(error.fact, received=error.received, accepted=error.accepted, remedy=error.remedy) from error
    return folder / name


def _gold(record: object, text: str) -> GoldEntity:
    fields = checked_object(record, {"span", "start", "end", "type", "boxes"}, "an entity of a post")
    boxes = _each(fields["boxes"], "boxes", checked_box) or ()
    return GoldEntity(*checked_place(fields, text), checked_string(fields["type"], "type"), boxes)


def _scene_object(record: object) -> SceneObject:
    fields = checked_object(record, {"name", "type", "box"}, "an object of a scene")
    name, kind = (checked_string(fields[key], key) for key in ("name", "type"))
    return SceneObject(name, kind, checked_box(fields["box"]))


def _post_record(post: Post) -> dict[str, Any]:
    record: dict[str, Any] = {"id": post.id, "text": post.text, "image": None}
    if post.entities is not None:
        record["entities"] = [
            {
                "span": entity.span,
                "start": entity.start,
                "end": entity.end,
                "type": entity.type,
                "boxes": [list(box.as_tuple()) for box in entity.boxes],
            }
            for entity in post.entities
        ]
    if post.tokens is not None:
        record["tokens"] = list(post.tokens)
    if post.scene is not None:
        record["scene"] = [{"name": o.name, "type": o.type, "box": list(o.box.as_tuple())} for o in post.scene]
    if post.slice is not None:
        record["slice"] = post.slice
    return record


def _write_picture(post: Post, number: int, folder: Path) -> str | None:
    """Write a post's picture; the number keeps two ids with the same slug apart."""
    if post.image is None:
        return None
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", post.id)[:60]
    suffix = ".png" if isinstance(post.image, Image.Image) else post.image.suffix.lower()
    name = f"images/{number:05d}_{slug}{suffix}"
    if isinstance(post.image, Image.Image):
        post.image.save(folder / name, format="PNG")
    elif post.image.is_file():
        shutil.copyfile(post.image, folder / name)
    else:
        raise ImageError("A picture is missing", received=str(post.image))
    return name
