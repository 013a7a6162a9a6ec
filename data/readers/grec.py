"""Reader of gRefCOCO (GREC): expressions with any number of targets, as posts with a single entity."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmner.data.oddities import MissingImages, OddityLog, Posts
from gmner.data.post import Post
from gmner.data.readers.box_checks import odd_box
from gmner.data.readers.image_folder import Folders, Pictures, find_pictures
from gmner.data.readers.json_values import id_of, list_of, load_json, record_of, text_of, whole_number
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.data.readers.sources import UniqueIds
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import EXPRESSION, GoldEntity
from gmner.signatures.number_checks import check_integer

_IMAGE_FOLDERS = ("train2014", "images", "images/train2014")
_NO_TARGET = -1
# The data set appends a number to the name of the image: COCO_train2014_000000000123_5.jpg.
_NUMBERED = re.compile(r"(_\d+)_\d+(\.\w+)$")


def read_grec(
    refs: str | os.PathLike[str],
    instances: str | os.PathLike[str],
    split: str,
    images: Folders | None = None,
    *,
    missing_images: MissingImages = "warn",
    most_targets: int | None = None,
) -> Posts:
    """Read a split of gRefCOCO, one post per expression.

    The text of a post is the expression, and its single entity is the whole text with the type `EXPRESSION`. Its
    `boxes` are the *set* of targets, all of which must be found; in Twitter-GMNER, any one of an entity's boxes is
    correct. An expression without targets (`ann_id` is -1 or missing) has no boxes. The id is `<ref_id>-<sent_id>`;
    missing numbers are counted from 0. Boxes are float pixels of the original image, xyxy, converted from COCO's x, y,
    width, height.

    Unusual data is read, logged, and listed in `.oddities` by ref and sentence: `no_target` contradicts `ann_id`, which
    counts (`no_target_differs`); a box extends beyond the image or has no area (`box_outside_image`, `zero_area_box`);
    an image is missing (`missing_image`); an id is repeated (`duplicate_id`, `duplicate_annotation`).

    Args:
        refs: `grefs(unc).json`: a list of `{"ref_id", "ann_id", "image_id", "split", "file_name", "no_target",
            "sentences": [{"sent_id", "sent"}]}`.
        instances: `instances.json` of COCO: `annotations` with `id`, `image_id`, `bbox`; `images` with `id`,
            `file_name`, `width`, `height`.
        split: `train`, `val`, `testA` or `testB`.
        images: One or several image folders; None: `train2014/` or `images/` beside `refs`. The name of an image is
            that in `instances`, or else `file_name` without the number at its end.
        missing_images: `warn`: a post whose image is missing is read with `image=None`; `error`: it is a `DataError`.
        most_targets: Leave out expressions with more targets; the paper of MCR trains on those with at most one.
            None: all are read.

    Returns:
        The posts in the order of the file.

    Raises:
        InputError: The file or split does not exist (the error names the splits that do), or `most_targets` is
            negative.
        DataError: A file, ref or box is malformed, an `ann_id` is unknown, or a target is in another image; the error
            names file, ref, and sentence or annotation.

    Source: Liu et al., "GRES: Generalized Referring Expression Segmentation", CVPR 2023; He et al., "GREC: Generalized
    Referring Expression Comprehension", 2023.
    """
    check_integer("most_targets", most_targets, least=0, optional=True)
    path, findings = Path(refs), OddityLog()
    selected = [ref for ref in _refs(path, split) if _within(ref, most_targets)]
    pictures = find_pictures(path.parent, images, _IMAGE_FOLDERS, findings, missing_images)
    return findings.posts(_Reader(_Coco(Path(instances), findings), pictures, findings).posts(selected))


@dataclass(frozen=True, slots=True)
class _Ref:
    """A ref, its number in the file from 0, and its location for oddities."""

    record: Mapping[str, Any]
    number: int
    where: str


def _refs(path: Path, split: str) -> Iterator[_Ref]:
    """The refs of a split."""
    splits = set()
    for number, item in enumerate(list_of(load_json(path), "refs", str(path))):
        ref = record_of(item, f"{path}: ref number {number}")
        name = ref.get("split")
        if not isinstance(name, str):
            raise DataError(f"{path}: ref number {number}: `split` must be a string", received=name)
        splits.add(name)
        if name == split:
            known = type(ref.get("ref_id")) in (int, str)
            yield _Ref(ref, number, f"{path}: ref {ref['ref_id']}" if known else f"{path}: ref number {number}")
    if split not in splits:
        raise InputError(f"{path} has no such split", received=split, accepted=", ".join(sorted(splits)) or "none")


@dataclass(frozen=True, slots=True)
class _Image:
    name: str
    width: float
    height: float


def _within(ref: _Ref, most: int | None) -> bool:
    """Whether a ref has no more than `most` targets; None: any number of them."""
    return most is None or len(_targets(ref.record.get("ann_id"), ref.where)[0]) <= most


class _Coco:
    """Annotations and images of a COCO file, checked when they are accessed."""

    def __init__(self, path: Path, findings: OddityLog) -> None:
        self._path, self._findings = path, findings
        data = record_of(load_json(path), str(path))
        self._images = self._by_id(data, "images")
        self._annotations = self._by_id(data, "annotations")

    def image(self, image_id: int) -> _Image | None:
        """The image with this id; None if it is not listed.

        Raises:
            DataError: Its name is not a string, or its size is not a pair of numbers.
        """
        item = self._images.get(image_id)
        if item is None:
            return None
        where = f"{self._path}: image {image_id}"
        sides = [item.get(side, 0) for side in ("width", "height")]
        if not all(type(side) in (int, float) for side in sides):
            raise DataError(f"{where}: width and height must be numbers", received=sides)
        return _Image(text_of(item.get("file_name"), "file_name", where, self._findings), *sides)

    def box(self, ann_id: int, image_id: int, ref: str) -> Box:
        """The box of an annotation, xyxy.

        Raises:
            DataError: The annotation is unknown, belongs to another image, or has an invalid `bbox`.
        """
        item = self._annotations.get(ann_id)
        if item is None:
            raise DataError(f"{ref}: annotation {ann_id} is not in {self._path}", received=ann_id)
        if item.get("image_id") != image_id:
            raise DataError(
                f"{ref}: annotation {ann_id} of {self._path} belongs to another image",
                received=item.get("image_id"),
                accepted=str(image_id),
            )
        return _xyxy(item.get("bbox"), f"{self._path}: annotation {ann_id}")

    def _by_id(self, data: Mapping[str, Any], name: str) -> dict[int, Mapping[str, Any]]:
        result: dict[int, Mapping[str, Any]] = {}
        for number, value in enumerate(list_of(data.get(name, []), name, str(self._path))):
            where = f"{self._path}: `{name}` number {number}"
            item = record_of(value, where)
            key = whole_number(item.get("id"), "id", where)
            if key in result:
                self._findings.add(
                    f"duplicate_{name[:-1]}", where, f"the id {key} occurs again; the first occurrence is used"
                )
            result.setdefault(key, item)
        return result


class _Reader:
    """Converts refs to posts."""

    def __init__(self, coco: _Coco, pictures: Pictures, findings: OddityLog) -> None:
        self._coco, self._pictures, self._findings = coco, pictures, findings
        self._ids = UniqueIds(findings)

    def posts(self, refs: list[_Ref]) -> list[Post]:
        """The posts, in the order of the refs and of their sentences."""
        return [post for ref in refs for post in self._posts(ref.record, ref.where, ref.number)]

    def _posts(self, ref: Mapping[str, Any], where: str, number: int) -> Iterator[Post]:
        image_id = whole_number(ref.get("image_id"), "image_id", where)
        image = self._coco.image(image_id)
        boxes = self._boxes(ref, image_id, image, where)
        name = id_of(ref.get("ref_id"), where, self._findings) or str(number)
        for index, item in enumerate(list_of(ref.get("sentences"), "sentences", where)):
            sentence = record_of(item, f"{where}, sentence number {index}")
            sent_id = id_of(sentence.get("sent_id"), where, self._findings) or str(index)
            place = f"{where}, sentence {sent_id}"
            text = self._text(sentence, place)
            post_id = self._ids.of(f"{name}-{sent_id}", place)
            picture = self._pictures.find([self._file_name(ref, image, where)], post_id, place)
            yield Post(post_id, text, picture, (GoldEntity(text, 0, len(text), EXPRESSION, boxes),))

    def _text(self, sentence: Mapping[str, Any], where: str) -> str:
        for key in ("sent", "raw"):
            text = text_of(sentence.get(key, ""), key, where, self._findings)
            if text.strip():
                return text
        raise DataError(f"{where}: the expression is empty", received=dict(sentence))

    def _boxes(self, ref: Mapping[str, Any], image_id: int, image: _Image | None, where: str) -> tuple[Box, ...]:
        ids, mixed = _targets(ref.get("ann_id"), where)
        if mixed:
            self._findings.add("no_target_differs", where, "`ann_id` contains -1 and targets; -1 is ignored")
        if ref.get("no_target", not ids) != (not ids):
            message = f"`no_target` is {ref['no_target']!r} with {len(ids)} targets in `ann_id`; `ann_id` is used"
            self._findings.add("no_target_differs", where, message)
        boxes = []
        for ann_id in ids:
            box = self._coco.box(ann_id, image_id, where)
            self._check(box, image, f"{where}, annotation {ann_id}")
            boxes.append(box)
        return tuple(boxes)

    def _check(self, box: Box, image: _Image | None, where: str) -> None:
        size = None if image is None else (image.width, image.height)
        for kind, message in odd_box(box, size):
            self._findings.add(kind, where, message)

    def _file_name(self, ref: Mapping[str, Any], image: _Image | None, where: str) -> str:
        if image is not None:
            return image.name
        return _NUMBERED.sub(r"\1\2", text_of(ref.get("file_name"), "file_name", where, self._findings))


def _targets(value: object, where: str) -> tuple[list[int], bool]:
    """The ids in `ann_id`, a number or a list, without -1 for no target, and whether -1 was beside other ids."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    given = dict.fromkeys(whole_number(item, "ann_id", where) for item in values)
    ids = [ann_id for ann_id in given if ann_id != _NO_TARGET]
    return ids, bool(ids) and _NO_TARGET in given


def _xyxy(value: object, where: str) -> Box:
    if not isinstance(value, list) or len(value) != 4 or not all(type(side) in (int, float) for side in value):
        raise DataError(f"{where}: `bbox` must be four numbers", received=value, accepted="[x, y, width, height]")
    x, y, width, height = value
    try:
        return Box(float(x), float(y), float(x + width), float(y + height))
    except (InputError, OverflowError) as error:
        raise DataError(f"{where}: `bbox` is not a valid box", received=value, remedy=str(error)) from error


def _read(location: DatasetLocation) -> Posts:
    if location.instances is None:
        raise InputError(
            "GREC requires the boxes of COCO", accepted="instances.json", remedy="Pass --instances, or instances="
        )
    return read_grec(
        location.path, location.instances, location.split, location.images, most_targets=location.most_targets
    )


GREC = Reader("grec", _read, options=("instances", "most_targets"))
