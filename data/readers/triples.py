"""Reader of predictions as lines of `text|TYPE|[x1,y1,x2,y2]`, as E2E-GMNER and similar systems write them."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.readers.placing import UNREADABLE, Triple, box_or_unreadable, placed_prediction
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError

_LOG = logging.getLogger(__name__)

_DUMP_KEY = "response_answer_orig"
_OPENED = re.compile("<answer>", re.I)
_CLOSED = re.compile("</answer>", re.I)
_BARS = str.maketrans(dict.fromkeys("\uff5c\u2502\u4e28\uffe8\u2223", "|"))
_BETWEEN = re.compile("[;\uff1b\n]+")
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")


def read_triples(path: str | os.PathLike[str], posts: Sequence[Post]) -> Predictions:
    """Read a file of predictions as triples.

    A file has one line per post: `text|TYPE|[x1,y1,x2,y2]; text|TYPE|None; ...`, or `None` without entities. A line may
    start with the id of the post and a tab; without ids, there must be one line per post, in the order of `posts`. A
    JSONL file of E2E-GMNER (`response_answer_orig`) is read in the same order. Boxes are pixels of the original image.
    Further boxes in `[[...], [...]]` become `more_boxes`, and an unreadable box becomes `UNREADABLE`.

    Spans are located in the text from left to right. An unescaped span (`&` for `&amp`) is located in the original
    text.

    Args:
        path: The file, UTF-8.
        posts: The posts that the predictions are for.

    Raises:
        InputError: The file does not exist.
        DataError: The numbers of lines and posts differ, an id is unknown or repeated, or a line has another form; the
            error names file and line.

    Source: E2E-GMNER, `evaluation/parsing.py`. Everything that its lenient parser accepts is read. What it drops, parts
    with fewer than three fields, is dropped and logged with file and line.
    """
    path = Path(path)
    lines = _answers(path)
    by_id = {post.id: post for post in posts}
    named = any("\t" in line and line.split("\t", 1)[0] in by_id for _, line in lines)
    if not named and not (lines and all("\t" in line.split("|", 1)[0] for _, line in lines)):
        if len(lines) != len(posts):
            raise DataError(
                f"{path} has {len(lines)} lines for {len(posts)} posts",
                accepted="one line per post in the order of the posts, or an id and a tab at the start of each line",
            )
        answers = zip(posts, lines, strict=True)
        return Predictions((_prediction(post, line, path, n) for post, (n, line) in answers), posts)
    predictions: dict[str, Prediction] = {}
    for number, line in lines:
        name, _, answer = line.partition("\t")
        if name not in by_id or name in predictions:
            raise DataError(f"{path}:{number}: the id is unknown or occurs twice", received=name)
        predictions[name] = _prediction(by_id[name], answer, path, number)
    return Predictions(predictions.values(), posts)


def parse_triples(text: str) -> tuple[list[Triple], list[str]]:
    """Parse the prediction for one post.

    Args:
        text: `text|TYPE|[x1,y1,x2,y2]; ...`, `None`, or either within `<answer>` tags.

    Returns:
        Triples of span, type and boxes, and the parts that are not triples. Boxes are pixels of the original image; an
        empty tuple means not shown, and `UNREADABLE` stands for anything but four ordered numbers.
    """
    text = _tagged(text).translate(_BARS)
    triples: list[Triple] = []
    dropped = []
    for part in (part.strip() for part in _BETWEEN.split(text)):
        if not part or part.lower() == "none":
            continue
        fields = [field.strip() for field in part.split("|") if field.strip()]
        if len(fields) < 3:
            dropped.append(part)
        else:
            triples.append((" | ".join(fields[:-2]), fields[-2], _boxes(fields[-1])))
    return triples, dropped


def _tagged(text: str) -> str:
    """The text between the first `<answer>` and the next `</answer>`; the whole text if one of them is missing."""
    opened = _OPENED.search(text)
    closed = _CLOSED.search(text, opened.end()) if opened else None
    return text[opened.end() : closed.start()] if opened and closed else text


def _answers(path: Path) -> list[tuple[int, str]]:
    """The numbered predictions of a file: its lines, or the value in each JSON line. A blank line has no entities."""
    if not path.is_file():
        raise InputError("File not found", received=str(path), accepted="a file of triples, one line per post")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8", remedy=str(error)) from error
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(text.removesuffix("\n").split("\n"), 1)]
    if not text.lstrip().startswith("{"):
        return lines if text else []
    return [(number, _dumped(line, path, number)) for number, line in lines if line.strip()]


def _dumped(line: str, path: Path, number: int) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number}: not JSON", received=line, remedy=str(error)) from error
    answer = record.get(_DUMP_KEY) if isinstance(record, Mapping) else None
    if not isinstance(answer, str):
        raise DataError(f"{path}:{number}: no triples", received=line, accepted=f"a string `{_DUMP_KEY}`")
    return answer


def _prediction(post: Post, line: str, path: Path, number: int) -> Prediction:
    triples, dropped = parse_triples(line)
    for part in dropped:
        _LOG.warning("%s:%d: %r is not a triple and is ignored", path, number, part)
    return placed_prediction(post, triples)


def _boxes(field: str) -> tuple[Box, ...]:
    if field.lower() in ("none", "n/a"):
        return ()
    numbers = [float(number) for number in _NUMBER.findall(field)]
    if not numbers or len(numbers) % 4:
        return (UNREADABLE,)
    return tuple(box_or_unreadable(numbers[at : at + 4]) for at in range(0, len(numbers), 4))
