"""Data sets in the format of COCO whose boxes or mentions were corrected, as posts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gmner.data.export.corrections import Corrections, Marked, places_of
from gmner.data.export.importer import Corrected, Importer
from gmner.data.export.source import picture_names, picture_order
from gmner.data.oddities import Posts
from gmner.data.post import Post
from gmner.data.readers.image_folder import Folders
from gmner.data.readers.json_values import id_of, list_of, load_json, record_of, text_of, whole_number
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError


def from_coco(
    data: Mapping[str, Any],
    posts: Iterable[Post] | None = None,
    images: Folders | None = None,
    *,
    path: str | Path = "coco.json",
) -> Posts:
    """Convert a corrected COCO data set of `to_coco` to posts.

    Annotations with the same offsets are the boxes of one mention; its type is the category. An annotation that a
    person added needs `span`, and `start` and `end` if the text contains the words more than once; the values may also
    be in `attributes`. If the tool dropped the keys `posts` or `not_shown`, pass the exported posts: texts, images (by
    their names) and mentions that are not shown are then those of these posts.

    What a person left out or did twice is an oddity with the annotation as its place: `box_without_mention` (no span;
    left out), `span_not_in_text`, `span_occurs_several_times` (left out), `types_differ` (boxes of one mention with
    different categories; the first is read), `shown_and_not_shown` (a mention in `not_shown` that has boxes; the boxes
    are read), `boxes_removed` (a mention of the exported posts has no box any more; it is read as not shown),
    `box_without_post` (left out), `post_without_image` (without `posts`, an exported post none of whose images is in
    the data set is left out), `duplicate_mention`, `several_types`, `overlapping_mentions`, `duplicate_box`,
    `unknown_post`, `text_differs`, `images_incomplete` (see `Corrections.post`), `missing_image` (also an image of a
    post that is not in `images`), and those of boxes and images.

    Args:
        data: The data set, as `json.load` returns it.
        posts: The exported posts. Their images, tokens, scenes and slices are kept. None: the posts consist of what the
            data set contains.
        images: One or several image folders; None: the images of `posts`.
        path: The file of the data set, for oddities; `images/` beside it is the default folder without `posts`.

    Returns:
        The posts in the order of the data set; boxes in pixels of the original image.

    Raises:
        InputError: An image folder does not exist.
        DataError: The data set does not follow the format, two of its posts have the same image, or it has no `posts`
            and none are given.
    """
    if not isinstance(data, dict):
        accepted = "an object with `images`, `annotations` and `categories`"
        raise DataError(f"{path}: not a data set of COCO", received=data, accepted=accepted)
    return _DataSet(Corrections(Path(path), posts, images), data, str(path)).posts()


class _DataSet:
    """The mentions of each post, from annotations and from `not_shown`."""

    def __init__(self, corrections: Corrections, data: Mapping[str, Any], path: str) -> None:
        self._corrections, self._findings, self._data, self._path = corrections, corrections.findings, data, path
        self._types = {
            whole_number(item.get("id"), "id", where): text_of(item.get("name"), "name", where, self._findings)
            for item, where in self._items("categories")
        }
        self._files = {
            whole_number(item.get("id"), "id", where): text_of(item.get("file_name"), "file_name", where,
                                                               self._findings)
            for item, where in self._items("images")
        }  # fmt: skip
        self._number_of = dict[int, int]()  # image id -> number of the image in its post, from 1
        self._post_of = dict[int, str]()  # image id -> post id
        # Post id -> the post without mentions, whether it is annotated, the file name of each of its images.
        self._drafts = self._posts() if "posts" in data else self._exported_posts()
        # Post -> mention -> mark. A mention is identified by its offsets, which boxes that a person added have, too.
        self._marks: dict[str, dict[object, Marked]] = {id_: {} for id_ in self._drafts}

    def posts(self) -> Posts:
        """The corrected posts."""
        absent = [
            (item, where, id_)
            for item, where in self._items("not_shown")
            if (id_ := self._post_of_absent(item, where)) is not None
        ]
        for item, where in self._items("annotations"):
            self._add_box(item, where)
        for item, where, key in absent:
            self._add_absent(item, where, key)
        found = []
        for id_, (draft, annotated, files) in self._drafts.items():
            if annotated:
                self._add_without_boxes(draft)
            marks = list(self._marks[id_].values()) if annotated or self._marks[id_] else None
            names = [[name] if name else [] for name in files]
            found.append(self._corrections.post(draft, marks, names, f"{self._path}: post {id_}"))
        return self._corrections.posts(found)

    def _items(self, key: str) -> list[tuple[Mapping[str, Any], str]]:
        items = list_of(self._data.get(key, []), key, self._path)
        places = [f"{self._path}: `{key}` number {number}" for number in range(1, len(items) + 1)]
        return [(record_of(item, where), where) for item, where in zip(items, places, strict=True)]

    def _posts(self) -> dict[str, tuple[Post, bool, list[str]]]:
        """The posts that the data set has."""
        drafts = dict[str, tuple[Post, bool, list[str]]]()
        for item, where in self._items("posts"):
            id_ = id_of(item.get("id"), where, self._findings)
            if id_ is None or id_ in drafts:
                raise DataError(f"{where}: the id is missing or occurs twice", received=item.get("id"))
            text = text_of(item.get("text"), "text", where, self._findings)
            first = [] if item.get("image_id") is None else [item["image_id"]]
            more = list_of(item.get("more_image_ids", []), "more_image_ids", where)
            numbers = [whole_number(number, "image_id", where) for number in [*first, *more]]
            if shared := [number for number in numbers if number in self._post_of]:
                raise DataError(f"{where}: the image belongs to an earlier post", received=shared[0])
            self._post_of |= dict.fromkeys(numbers, id_)
            self._number_of |= {image: place for place, image in enumerate(numbers, 1)}
            files = [self._files.get(image, "") for image in numbers]
            if "" in files and self._corrections.original(id_) is None:
                message = f"an image of post {id_} is not in `images`; the post is read without its images"
                self._report("missing_image", where, message, id_)
            drafts[id_] = (Post(id_, text), item.get("annotated") is not False, files)
        return drafts

    def _exported_posts(self) -> dict[str, tuple[Post, bool, list[str]]]:
        """The exported posts whose images the data set has; a box keeps the number of its image in the post."""
        originals = self._corrections.originals()
        if not originals:
            raise DataError(f"{self._path}: no texts, because the key `posts` is missing",
                            remedy="Pass the exported posts with --posts, or posts=")  # fmt: skip
        drafts = dict[str, tuple[Post, bool, list[str]]]()
        images = dict[str, list[int]]()  # several posts may share a file, and then have their images in this order
        for image, file in sorted(self._files.items()):
            images.setdefault(Path(file).name, []).append(image)
        files = picture_names(originals)
        for place, number in picture_order(originals):
            if waiting := images.get(files[place][number - 1]):
                image = waiting.pop(0)
                self._post_of[image], self._number_of[image] = originals[place].id, number
        found = set(self._post_of.values())
        for post, names in zip(originals, files, strict=True):
            if post.id not in found:
                message = f"no image of the exported post {post.id} is in the data set; it is left out"
                self._findings.add("post_without_image", self._path, message, post=post.id, quiet=True)
                continue
            drafts[post.id] = (Post(post.id, post.text), post.entities is not None, names)
        return drafts

    def _add_box(self, item: Mapping[str, Any], where: str) -> None:
        image = whole_number(item.get("image_id"), "image_id", where)
        id_ = self._post_of.get(image)
        if id_ is None:
            self._report("box_without_post", where, "the image belongs to no post; the box is left out")
            return
        place, type_ = self._place(item, id_, where), self._type(item, where)
        box = replace(_box(item.get("bbox"), where), picture=self._number_of.get(image, 1))
        if place is None:
            return
        mark = self._marks[id_].setdefault(place, Marked(*place, type_))
        mark.boxes.append(box)
        if mark.type != type_:
            message = f"{self._words(id_, place)!r} is {mark.type}, but this box is {type_}; {mark.type} is read"
            self._report("types_differ", where, message, id_)

    def _add_absent(self, item: Mapping[str, Any], where: str, id_: str) -> None:
        place, marks = self._place(item, id_, where), self._marks[id_]
        if place is None:
            return
        shown = any((mark.start, mark.end) == place and mark.boxes for mark in marks.values())
        if shown:
            message = f"{self._words(id_, place)!r} is not shown, but has boxes; the boxes are read"
            self._report("shown_and_not_shown", where, message, id_)
        else:
            marks.setdefault(("not shown", where), Marked(*place, self._type(item, where)))

    def _add_without_boxes(self, draft: Post) -> None:
        """Add the exported mentions that have no annotation, which only boxes have, and that nobody replaced."""
        given, marks = self._corrections.original(draft.id), self._marks[draft.id]
        entities = given.gold if given is not None and given.text == draft.text else ()
        kept = {entity.key for entity in entities}  # an exported mention does not replace another one that it overlaps
        for entity in entities:
            if any(
                (mark.start, mark.end) == entity.key
                or ((mark.start, mark.end) not in kept and mark.start < entity.end and entity.start < mark.end)
                for mark in marks.values()
            ):
                continue
            if not entity.boxes and "not_shown" in self._data:  # a person removed it there
                continue
            if entity.boxes:
                message = f"{entity.span!r} has no box any more; it is read as not shown"
                self._report("boxes_removed", f"{self._path}: post {draft.id}", message, draft.id)
            marks["exported", entity.key] = Marked(*entity.key, entity.type)

    def _post_of_absent(self, item: Mapping[str, Any], where: str) -> str | None:
        """The id of the post; None if `_exported_posts` left it out, which is reported there."""
        id_ = id_of(item.get("post_id"), where, self._findings)
        if id_ in self._marks:
            return id_
        if id_ is None or "posts" in self._data or self._corrections.original(id_) is None:
            raise DataError(f"{where}: unknown post", received=item.get("post_id"))
        return None

    def _type(self, item: Mapping[str, Any], where: str) -> str:
        number = whole_number(item.get("category_id"), "category_id", where)
        if number not in self._types:
            accepted = ", ".join(map(str, self._types))
            raise DataError(f"{where}: unknown category", received=number, accepted=accepted)
        return self._types[number]

    def _place(self, item: Mapping[str, Any], id_: str, where: str) -> tuple[int, int] | None:
        """Start and end of the mention that an annotation names; None if there is no such mention."""
        attributes = item.get("attributes")
        fields = {**(attributes if isinstance(attributes, dict) else {}), **item}
        span, start, end = (fields.get(name) for name in ("span", "start", "end"))
        text = self._drafts[id_][0].text
        if not isinstance(span, str) or not span:
            self._report("box_without_mention", where, "the box has no `span` and is left out", id_)
            return None
        if type(start) is int and type(end) is int and 0 <= start < end and text[start:end] == span:
            return start, end
        places = places_of(span, text)
        if len(places) != 1:
            kind = "span_occurs_several_times" if places else "span_not_in_text"
            message = f"{span!r} occurs {len(places)} times in the text, and its offsets are missing or wrong"
            self._report(kind, where, f"{message}; it is left out", id_)
            return None
        return places[0], places[0] + len(span)

    def _words(self, id_: str, place: tuple[int, int]) -> str:
        return self._drafts[id_][0].text[slice(*place)]

    def _report(self, kind: str, where: str, message: str, post: str | None = None) -> None:
        self._findings.add(kind, where, message, post=post)


def _box(value: object, where: str) -> Box:
    if not isinstance(value, list) or len(value) != 4 or not all(type(side) in (int, float) for side in value):
        raise DataError(f"{where}: `bbox` must be four numbers", received=value, accepted="[x, y, width, height]")
    try:
        x, y, width, height = map(float, value)
        return Box(x, y, x + width, y + height)
    except (InputError, OverflowError) as error:
        raise DataError(f"{where}: `bbox` is not a valid box", received=value, remedy=str(error)) from error


def _read(given: Corrected) -> Posts:
    return from_coco(load_json(given.path), given.posts, given.images, path=given.path)


COCO = Importer("coco", _read)
