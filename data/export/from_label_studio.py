"""Tasks that were corrected in Label Studio, as posts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from gmner.data.export.corrections import Corrections, Marked, places_of
from gmner.data.export.importer import Corrected, Importer
from gmner.data.oddities import Posts
from gmner.data.post import Post
from gmner.data.readers.image_folder import Folders
from gmner.data.readers.json_values import id_of, list_of, load_json, record_of, text_of
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError

_DECIMALS = 6
"""Digits after the point of a coordinate in pixels: percentages are not exact."""

_ACCEPTED = "the export format JSON of Label Studio (not JSON-MIN or CSV)"

_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""

_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f:]")


def from_label_studio(
    tasks: Sequence[Any],
    posts: Iterable[Post] | None = None,
    images: Folders | None = None,
    *,
    path: str | Path = "tasks.json",
) -> Posts:
    """Convert corrected tasks of Label Studio, in its export format JSON, to posts.

    A mention is a region of the text, a box is a rectangle, and a relation in either direction connects the two. A
    mention without a relation is not shown. The type of a mention counts, not that of its boxes. Without a submitted
    annotation, a post is not annotated (`entities` is None); predictions are not read.

    What a person left out, did twice or could not have meant is an oddity with the task as its place:

    - `not_submitted`, `skipped_task`, `several_annotations` (the latest is read);
    - `box_without_mention`, `no_type` (left out); `duplicate_mention`, `several_types`, `overlapping_mentions`,
      `duplicate_box`, `types_differ` (the type of a box is not that of its mention);
    - `duplicate_relation`, `odd_relation` (not between a mention and a box, or to a region that does not exist);
    - `utf16_offsets` (converted), `span_differs` (offsets and text contradict each other; the only occurrence of the
      text is read), `span_not_in_text` (left out), `white_space_in_span` (removed);
    - `rotated_box` (its hull is read), `unknown_result`, `unknown_post`, `text_differs`, `images_incomplete` (see
      `Corrections.post`), and those of boxes and images.

    Args:
        tasks: The tasks: `{"data": {"id", "text", "image"}, "annotations": [{"result"}]}`, as `json.load` returns them;
            with `images` in the data, and the index of an image as `item_index` of a box, for posts with several.
        posts: The exported posts. Their images, tokens, scenes and slices are kept, and so are the exact coordinates of
            boxes that nobody moved. None: the posts consist of what the tasks contain.
        images: One or several image folders; None: the images of `posts`.
        path: The file of the tasks, for oddities; `images/` beside it is the default folder without `posts`.

    Returns:
        The posts in the order of the tasks; boxes in pixels of the original image.

    Raises:
        InputError: An image folder does not exist.
        DataError: A task does not follow the format; the error names it.

    Source: Label Studio's documentation, "Export annotations" and "Label Studio JSON format of annotated tasks".
    """
    if not isinstance(tasks, list):
        raise DataError(f"{path}: not a list of tasks", received=tasks, accepted=_ACCEPTED)
    corrections = Corrections(Path(path), posts, images)
    found = [_Task(corrections, task, f"{path}: task {number}").post() for number, task in enumerate(tasks, 1)]
    return corrections.posts(found)


class _Task:
    """One task: its annotation, the regions, and the relations between them."""

    def __init__(self, corrections: Corrections, task: object, where: str) -> None:
        record = record_of(task, where)
        if not isinstance(record.get("data"), dict):
            raise DataError(f"{where}: no `data`", received=sorted(record), accepted=_ACCEPTED)
        self._corrections, self._findings, self._record = corrections, corrections.findings, record
        data = record["data"]
        own = id_of(data.get("id"), where, self._findings) or id_of(record.get("id"), where, self._findings)
        if own is None:
            raise DataError(f"{where}: no `id` in `data`", received=sorted(data))
        self._where, self._id = f"{where} (post {own})", own
        self._text = text_of(data.get("text"), "text", self._where, self._findings)
        urls = list_of(data["images"], "images", self._where) if "images" in data else [data.get("image")]
        self._urls, self._grounded = urls, data.get("grounded") is not False
        self._spans: dict[str, Marked] = {}
        self._boxes: dict[str, tuple[Box, str | None]] = {}
        self._relations: list[tuple[str, str]] = []

    def post(self) -> Post:
        """The corrected post."""
        results = self._results()
        draft = Post(self._id, self._text, grounded=self._grounded)
        names = [_names(url) for url in self._urls]
        if results is None:
            return self._corrections.post(draft, None, names, self._where)
        for number, result in enumerate(results, 1):
            self._add(record_of(result, f"{self._where}: result {number}"), number)
        self._connect()
        return self._corrections.post(draft, list(self._spans.values()), names, self._where)

    def _report(self, kind: str, message: str, *, quiet: bool = False) -> None:
        self._findings.add(kind, self._where, message, post=self._id, quiet=quiet)

    def _results(self) -> list[Any] | None:
        """The results of the latest submitted annotation; None if there is none."""
        items = list_of(self._record.get("annotations", []), "annotations", self._where)
        given = [record_of(item, self._where) for item in items]
        submitted = [item for item in given if not item.get("was_cancelled")]
        if not submitted:
            if given:
                self._report("skipped_task", "the task was skipped; the post is not annotated", quiet=True)
            else:
                message = "the task has no submitted annotation; the post is not annotated"
                self._report("not_submitted", message, quiet=True)
            return None
        if len(submitted) > 1:
            self._report("several_annotations", f"{len(submitted)} annotations were submitted; the latest is read")
        latest = max(enumerate(submitted), key=lambda item: (_time(item[1]), item[0]))[1]
        return list_of(latest.get("result"), "result", self._where)

    def _add(self, result: Mapping[str, Any], number: int) -> None:
        kind = result.get("type")
        id_ = f"result {number}" if result.get("id") is None else str(result["id"])  # nothing refers to one without id
        if kind == "relation":
            self._relations.append((str(result.get("from_id")), str(result.get("to_id"))))
        elif kind == "labels":
            self._add_span(id_, record_of(result.get("value"), self._where))
        elif kind == "rectanglelabels":
            self._add_box(id_, result, record_of(result.get("value"), self._where))
        else:
            self._report("unknown_result", f"a result of type {kind!r} is neither a mention nor a box; it is ignored")

    def _add_span(self, id_: str, value: Mapping[str, Any]) -> None:
        place, type_ = self._place(value), self._type(value, "labels", "a mention")
        if (first := self._spans.get(id_)) is not None:  # a second tag of the labeling configuration for the region
            if type_ not in (None, first.type):
                message = f"{self._text_of(first)!r} has the types {first.type}, {type_}; {first.type} is read"
                self._report("several_types", message)
        elif place is not None and type_ is not None:
            self._spans[id_] = Marked(*place, type_)
        elif place is not None:
            self._report("no_type", f"{self._text[slice(*place)]!r} has no type and is left out")

    def _type(self, value: Mapping[str, Any], key: str, what: str) -> str | None:
        names = list_of(value.get(key, []), key, self._where)
        types = [text_of(name, key, self._where, self._findings) for name in names]
        if len(types) > 1:
            self._report("several_types", f"{what} has the types {', '.join(types)}; {types[0]} is read")
        return types[0] if types else None

    def _place(self, value: Mapping[str, Any]) -> tuple[int, int] | None:
        """Start and end of a mention in the text, without white space; None if it is not in the text."""
        start, end, words = value.get("start"), value.get("end"), value.get("text")
        if type(start) is not int or type(end) is not int:
            raise DataError(f"{self._where}: a mention has no offsets", received=dict(value))
        inside = 0 <= start < end <= len(self._text)
        if isinstance(words, str) and words.strip() and not (inside and self._text[start:end] == words):
            units = _code_points(self._text, start, end)
            if units is not None and self._text[slice(*units)] == words:
                message = f"the offsets of {words!r} count UTF-16 units; they are read as {units[0]} to {units[1]}"
                self._report("utf16_offsets", message)
                return self._stripped(*units)
            found = places_of(words, self._text)
            if not inside or self._text[start:end].strip() != words.strip():
                if len(found) != 1:
                    message = f"{words!r} is not at {start} to {end}, and occurs {len(found)} times in the text"
                    self._report("span_not_in_text", f"{message}; it is left out")
                    return None
                start, end = found[0], found[0] + len(words)
                message = f"{words!r} is not at the stated offsets; its only occurrence, at {start}, is read"
                self._report("span_differs", message)
        elif not inside:
            message = f"offsets {start} to {end} are not in the text; the mention is left out"
            self._report("span_not_in_text", message)
            return None
        return self._stripped(start, end)

    def _stripped(self, start: int, end: int) -> tuple[int, int] | None:
        span = self._text[start:end]
        words = span.strip()
        if not words:
            self._report("span_not_in_text", "a mention consists of white space and is left out")
            return None
        if words != span:
            self._report("white_space_in_span", f"white space around {words!r} is not part of the mention")
            start += span.index(words)
        return start, start + len(words)

    def _add_box(self, id_: str, result: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        size = [result.get("original_width"), result.get("original_height")]
        sides = [value.get(key) for key in ("x", "y", "width", "height")]
        rotation = value.get("rotation") or 0
        if not all(_is_number(number) for number in (*size, *sides, rotation)):
            raise DataError(f"{self._where}: a box must have numbers as sides and size", received=dict(result))
        type_ = self._type(value, "rectanglelabels", "a box")
        try:
            box = replace(_box(sides, size, rotation), picture=self._picture(result))
            self._boxes.setdefault(id_, (box, type_))
        except InputError as error:
            raise DataError(f"{self._where}: a box is not valid", received=dict(value), remedy=str(error)) from error
        if rotation or result.get("image_rotation"):
            message = "a box is rotated; the upright box around it is read, check it"
            self._report("rotated_box", message)

    def _picture(self, result: Mapping[str, Any]) -> int:
        """The number of the image that a box is in, from 1."""
        index = result.get("item_index") or 0
        if type(index) is not int or not 0 <= index < max(len(self._urls), 1):
            accepted = f"0 to {max(len(self._urls), 1) - 1}"
            raise DataError(f"{self._where}: a box is in an unknown image", received=index, accepted=accepted)
        return index + 1

    def _connect(self) -> None:
        """Give each mention the boxes that a relation connects with it."""
        seen, related = set[frozenset[str]](), set[str]()
        for pair in self._relations:
            spans = [id_ for id_ in pair if id_ in self._spans]
            boxes = [id_ for id_ in pair if id_ in self._boxes]
            if len(spans) != 1 or len(boxes) != 1:
                self._report("odd_relation", "a relation is not between a mention and a box, and is ignored")
            elif frozenset(pair) in seen:
                span = self._text_of(self._spans[spans[0]])
                self._report("duplicate_relation", f"a box is related to {span!r} twice")
            else:
                seen.add(frozenset(pair))
                related.add(boxes[0])
                self._relate(self._spans[spans[0]], *self._boxes[boxes[0]])
        for id_, (box, type_) in self._boxes.items():
            if id_ not in related:
                message = f"the box {box.as_tuple()} ({type_}) has no relation to a mention and is left out"
                self._report("box_without_mention", message)

    def _relate(self, mark: Marked, box: Box, type_: str | None) -> None:
        mark.boxes.append(box)
        if type_ is not None and type_ != mark.type:
            message = f"{self._text_of(mark)!r} is {mark.type}, but its box is {type_}; {mark.type} is read"
            self._report("types_differ", message)

    def _text_of(self, mark: Marked) -> str:
        return self._text[mark.start : mark.end]


def _time(annotation: Mapping[str, Any]) -> str:
    """When an annotation was last changed, in ISO format, which sorts by time."""
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _code_points(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Offsets in characters from offsets in UTF-16 units; None if they are outside the text or split a character."""
    units = text.encode("utf-16-le", "surrogatepass")
    if not 0 <= start < end <= len(units) // 2:
        return None
    try:
        return len(units[: 2 * start].decode("utf-16-le")), len(units[: 2 * end].decode("utf-16-le"))
    except UnicodeDecodeError:
        return None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _box(sides: Sequence[Any], size: Sequence[Any], rotation: float) -> Box:
    """A box in pixels from percentages; the upright hull if it is rotated, clockwise around its first corner."""
    x, y, width, height = (
        number * side / 100 for number, side in zip(sides, (size[0], size[1], size[0], size[1]), strict=True)
    )
    sine, cosine = math.sin(math.radians(rotation)), math.cos(math.radians(rotation))
    corners = [(x + a * cosine - b * sine, y + a * sine + b * cosine) for a in (0, width) for b in (0, height)]
    xs, ys = zip(*corners, strict=True)
    return Box(*(round(float(value), _DECIMALS) for value in (min(xs), min(ys), max(xs), max(ys))))


def _names(url: object) -> list[str]:
    """File names that the image with this URL may have."""
    if not isinstance(url, str) or not url:
        return []
    place = url.partition("?d=")[2] or url.partition("?")[0]
    name = unquote(place).rpartition("/")[2]
    names = dict.fromkeys((name, _UPLOADED.sub("", name)))
    return [name for name in names if name.strip(".") and not _UNSAFE.search(name)]


def _read(given: Corrected) -> Posts:
    return from_label_studio(load_json(given.path), given.posts, given.images, path=given.path)


LABEL_STUDIO = Importer("label-studio", _read)
