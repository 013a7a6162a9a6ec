"""RiVEG's files for Twitter-GMNER: its gold, and its answers with words, type and verdict.

Source: RiVEG (Li et al., Findings of ACL 2024), folder `statistic` of its repository.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gmner.data.oddities import OddityLog, Posts
from gmner.data.post import Post
from gmner.data.prediction import Predictions
from gmner.data.readers.json_values import list_of, load_json, record_of
from gmner.data.readers.placing import (
    UNREADABLE,
    PostsByImage,
    Triple,
    box_or_unreadable,
    gold_box,
    image_key,
    placed_prediction,
)
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GoldEntity

_LOG = logging.getLogger(__name__)

BOXES_FILE = "refcoco_val_predict.json"
"""The boxes of the answers, as RiVEG's script names their file: `[{"uniq_id": ..., "box": [x1, y1, x2, y2]}]`."""

_BETWEEN_NAMES = " | "
_NAME = re.compile(r"(?P<span>.*\S.*)\((?P<type>[^()]*[^()\s][^()]*)\)", re.DOTALL)
_BOX = re.compile(r"&\[([^\]]*)\]")
_GOLD_LINE = re.compile(r"[^#]+###.+###\d###(&\[[^\]]*\])+")
_ANSWER_LINE = re.compile(r"Imageid:[^#]+#[^#]*###.+###\d(###&\[[^\]]*\])?")
_WRITTEN = {
    _GOLD_LINE: "IMAGE###NAME(TYPE)###description###VERDICT###&[x1, y1, x2, y2]",
    _ANSWER_LINE: "Imageid:IMAGE#NUMBER###NAME(TYPE)###description###VERDICT",
}


class _Row(NamedTuple):
    """One line: the image, its number within the answers, the name, and whether the image shows it."""

    image: str
    unique_id: str
    span: str
    type: str
    shown: bool
    boxes: tuple[Box, ...]


def read_riveg(path: str | os.PathLike[str], answers: str | os.PathLike[str] | None = None) -> Posts:
    """Read RiVEG's gold: lines of `IMAGE###NAME(TYPE)###description###VERDICT###&[x1, y1, x2, y2]`.

    The verdict is 0 for not shown; an entity with several boxes has several `&[...]`. The file has no tweets: the text
    of a post is its names, separated by ` | `, and offsets refer to it. Figures that depend on the text, such as
    N-Count, are therefore meaningless. The id of a post is the name of its image without the suffix, as in
    Twitter-GMNER. Posts without entities are not in the file, so that answers to them would not be counted. With
    `answers`, such posts are added, as RiVEG's script counts them.

    Args:
        path: The file, `GMNER_finall_label.txt`.
        answers: A file that `read_riveg_answers` reads; None: only the posts of the gold.

    Raises:
        InputError: The file does not exist.
        DataError: A line has another form or an invalid box; the error names file and line.
    """
    path, findings = Path(path), OddityLog()
    posts = []
    for image, rows in _by_image(_rows(path, _GOLD_LINE)).items():
        entities, start = [], 0
        for row in rows:
            entities.append(GoldEntity(row.span, start, start + len(row.span), row.type, row.boxes))
            start += len(row.span) + len(_BETWEEN_NAMES)
        posts.append(Post(image, _names(rows), None, tuple(entities)))
    known = {post.id for post in posts}
    answered = {} if answers is None else _by_image(_rows(Path(answers), _ANSWER_LINE))
    posts += [Post(image, _names(rows), None, ()) for image, rows in answered.items() if image not in known]
    return findings.posts(posts)


def read_riveg_answers(
    path: str | os.PathLike[str], posts: Sequence[Post], boxes: str | os.PathLike[str] | None = None
) -> Predictions:
    """Read RiVEG's answers: lines of `Imageid:IMAGE#NUMBER###NAME(TYPE)###description###VERDICT`.

    The boxes are in a file of their own. Without it, an entity that is predicted to be shown has the box `UNREADABLE`,
    which is wrong for every gold box: names, types and verdicts can be scored (MNER, grounded absent), regions cannot,
    and this is logged. A post without lines is answered with no entities.

    Args:
        path: The file, such as `OFAVE_to_OFAREC_augment.txt`.
        posts: The posts that the predictions are for, found by the name of their image or by their id.
        boxes: File of boxes in pixels of the original image, `[{"uniq_id": "IMAGE#NUMBER", "box": [x1, y1, x2, y2]}]`;
            None: `refcoco_val_predict.json` beside the answers, if it exists.

    Raises:
        InputError: A file does not exist.
        DataError: A line has another form, no image belongs to a post, or an image belongs to several; the error names
            the file.
    """
    path = Path(path)
    rows = list(_rows(path, _ANSWER_LINE))
    beside = path.parent / BOXES_FILE if boxes is None else Path(boxes)
    found = _boxes(beside) if boxes is not None or beside.is_file() else {}
    without = sum(row.shown and not row.boxes and row.unique_id not in found for row in rows)
    if without:
        _LOG.warning(
            "%s: %d answers are shown and have no box: their regions are counted as wrong (boxes are read from %s)",
            path, without, beside,
        )  # fmt: skip
    known, grouped = PostsByImage(posts), _by_image(rows)
    answered = {image: known.find(image) for image in grouped}
    if rows and not any(answered.values()):
        fact = f"{path}: no image belongs to one of the posts"
        raise DataError(fact, received=rows[0].image, accepted=f"images such as {known.example}")
    answers = {}
    for image, lines in grouped.items():
        post = answered[image] or Post(image, _names(lines))
        if post.id in answers:
            fact = f"{path}: two images belong to post {post.id}"
            raise DataError(fact, received=image, remedy="Use the names of the images as the ids of the posts")
        answers[post.id] = placed_prediction(post, [_triple(row, found) for row in lines])
    empty = (placed_prediction(post, ()) for post in posts if post.id not in answers)
    return Predictions([*answers.values(), *empty], posts)


def is_riveg_answer(line: str) -> bool:
    """Whether a line of a file has the form that `read_riveg_answers` reads."""
    return bool(_ANSWER_LINE.fullmatch(line.strip()))


def is_riveg_gold(line: str) -> bool:
    """Whether a line of a file has the form that `read_riveg` reads."""
    return bool(_GOLD_LINE.fullmatch(line.strip()))


def _names(rows: Sequence[_Row]) -> str:
    """The text of a post without a tweet."""
    return _BETWEEN_NAMES.join(row.span for row in rows)


def _triple(row: _Row, found: Mapping[str, Box]) -> Triple:
    boxes = (row.boxes or (found.get(row.unique_id, UNREADABLE),)) if row.shown else ()
    return row.span, row.type, boxes


def _by_image(rows: Iterator[_Row] | Sequence[_Row]) -> dict[str, list[_Row]]:
    grouped: dict[str, list[_Row]] = {}
    for row in rows:
        grouped.setdefault(image_key(row.image), []).append(row)
    return grouped


def _rows(path: Path, form: re.Pattern[str]) -> Iterator[_Row]:
    if not path.is_file():
        raise InputError("File not found", received=str(path), accepted="a file of RiVEG")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8", remedy=str(error)) from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _row(line.strip(), form, f"{path}:{number}")


def _row(line: str, form: re.Pattern[str], where: str) -> _Row:
    fields = line.split("###")
    name = _NAME.fullmatch(fields[1]) if len(fields) > 1 else None
    if not form.fullmatch(line) or name is None:
        raise DataError(f"{where}: not a line of RiVEG", received=line, accepted=_WRITTEN[form])
    written = _BOX.findall(fields.pop()) if fields[-1].startswith("&") else []
    unique_id, shown = fields[0].removeprefix("Imageid:"), fields[-1] != "0"
    numbers = [_numbers(box) for box in written] if shown else []
    boxes = tuple(gold_box(box, where) if form is _GOLD_LINE else box_or_unreadable(box) for box in numbers)
    return _Row(unique_id.split("#", 1)[0], unique_id, name["span"].strip(), name["type"].strip(), shown, boxes)


def _numbers(box: str) -> list[float] | str:
    """The numbers of a box; the text if it is something else."""
    try:
        return [float(number) for number in box.split(",")]
    except ValueError:
        return box


def _boxes(path: Path) -> dict[str, Box]:
    """The boxes by the number of their answer."""
    found = {}
    for number, item in enumerate(list_of(load_json(path), "boxes", str(path))):
        record = record_of(item, f"{path}: number {number}")
        unique_id = record.get("uniq_id")
        if not isinstance(unique_id, str):
            raise DataError(f"{path}: number {number}: `uniq_id` must be a string", received=dict(record))
        found[unique_id] = box_or_unreadable(record.get("box"))
    return found


def _read(location: DatasetLocation) -> Posts:
    return read_riveg(location.path)


def _detects(location: DatasetLocation) -> bool:
    if not location.path.is_file():
        return False
    with location.path.open(encoding="utf-8-sig", errors="replace") as file:
        return is_riveg_gold(next((line for line in file if line.strip()), ""))


RIVEG = Reader("riveg", _read, _detects)
