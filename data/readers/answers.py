"""`read_answers`: reads the predictions of any system."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from gmner.data.jsonl import read_predictions
from gmner.data.post import Post
from gmner.data.prediction import Predictions
from gmner.data.readers.ccks import is_ccks_answers, read_ccks_answers
from gmner.data.readers.entity_json import is_entity_json, read_entity_json_answers
from gmner.data.readers.riveg import is_riveg_answer, is_riveg_gold, read_riveg_answers
from gmner.data.readers.triples import read_triples
from gmner.signatures.errors import DataError


class _Form(NamedTuple):
    """A form of prediction files; `fits` is given the first line and the value of the file as JSON, or None."""

    fits: Callable[[str, object], bool]
    read: Callable[[Path, Sequence[Post]], Predictions]


def read_answers(path: str | os.PathLike[str], posts: Sequence[Post]) -> Predictions:
    """Read the predictions of any system; the content of the file decides how.

    JSONL of this package, triples and E2E-GMNER (`read_triples`), lines of RiVEG (`read_riveg_answers`), JSON of SAKE
    and UnCo (`read_entity_json_answers`), and JSON of the CCKS-2025 shared task (`read_ccks_answers`).

    Args:
        path: The file.
        posts: The posts that the predictions are for; triples without ids must be in their order.

    Raises:
        InputError: The file does not exist.
        DataError: The file has none of these forms, or contains gold annotations; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        return _read_jsonl(path, posts)
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = next((line.strip() for line in file if line.strip()), "")
    value = _whole(path) if line[:1] in ("[", "{") else None
    return next(form.read for form in _FORMS if form.fits(line, value))(path, posts)


def _whole(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _is_gold(line: str, value: object) -> bool:
    return is_riveg_gold(line) or is_entity_json(value, "gt_entities")


def _refuse_gold(path: Path, posts: Sequence[Post]) -> Predictions:
    raise DataError(f"{path}: gold annotations, not predictions", remedy="Read them with `read_dataset`, or --gold")


def _refuse_list(path: Path, posts: Sequence[Post]) -> Predictions:
    accepted = '[{"img_id", "pre_entities": [...]}], or one prediction per line'
    raise DataError(f"{path}: a JSON list whose records have no `pre_entities`", accepted=accepted)


def _is_prediction(line: str, _: object) -> bool:
    """Whether a line is a prediction as JSON; also True for an empty file."""
    try:
        record = json.loads(line or "{}")
    except (ValueError, RecursionError):
        return line.startswith("{")
    return not (isinstance(record, dict) and any(name.startswith("response_") for name in record))


def _read_jsonl(path: Path, posts: Sequence[Post]) -> Predictions:
    return Predictions(read_predictions(path), posts)


_FORMS = (
    _Form(lambda _, value: is_entity_json(value, "pre_entities"), read_entity_json_answers),
    _Form(_is_gold, _refuse_gold),
    _Form(lambda _, value: isinstance(value, list), _refuse_list),
    _Form(lambda _, value: is_ccks_answers(value), read_ccks_answers),
    _Form(lambda line, _: is_riveg_answer(line), read_riveg_answers),
    _Form(_is_prediction, _read_jsonl),
    _Form(lambda *_: True, read_triples),
)
"""In the order in which they are tried."""
