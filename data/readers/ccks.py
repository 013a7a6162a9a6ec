"""The JSON of the CCKS-2025 shared task on GMNER: texts, entities and answers by the key of their post.

Source: the shared task's data as ReFineG (Tang et al., 2025) reads it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gmner.data.oddities import MissingImages, OddityLog, Posts
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.readers.image_folder import Folders, find_pictures
from gmner.data.readers.json_values import list_of, load_json, record_of, text_of
from gmner.data.readers.placing import UNREADABLE, Triple, box_or_unreadable, place_spans, placed_prediction
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_TEXTS = "_text.json"


def read_ccks(
    root: str | os.PathLike[str],
    split: str = "sample",
    images: Folders | None = None,
    *,
    missing_images: MissingImages = "warn",
) -> Posts:
    """Read a split of the CCKS-2025 shared task.

    `SPLIT_text.json` is `{"1004": {"text": ...}}`, and `SPLIT_entity.json`, if it exists, `{"1004": [{"name", "label",
    "bnd": {"xmin", "ymin", "xmax", "ymax"} or null}]}`. Images are `SPLIT_image/KEY.*`. Names have no offsets: all rows
    with one name and label are one entity with all of their boxes, at the first occurrence of the name outside of
    longer names. Oddities are a name that is not in the text (`name_not_in_text`) and entities without a text
    (`unknown_post`); both are left out.

    Args:
        root: The folder with these files.
        split: The beginning of their names, such as `sample` or `Evaluation`.
        images: One or several image folders; None: `SPLIT_image`.
        missing_images: See `read_twitter_gmner`.

    Raises:
        InputError: The folder or split does not exist; the error names the splits that do.
        DataError: A record has another form; the error names it.
    """
    root, findings = Path(root), OddityLog()
    texts = root / f"{split}{_TEXTS}"
    if not texts.is_file():
        splits = ", ".join(sorted(file.name.removesuffix(_TEXTS) for file in root.glob(f"*{_TEXTS}"))) or "none"
        raise InputError(f"{root} has no such split", received=split, accepted=splits)
    gold = root / f"{split}_entity.json"
    entities = record_of(load_json(gold), str(gold)) if gold.is_file() else None
    pictures = find_pictures(root, images, (f"{split}_image",), findings, missing_images)
    posts = []
    for key, value in record_of(load_json(texts), str(texts)).items():
        where = f"{texts}: {key}"
        text = text_of(record_of(value, where).get("text"), "text", where, findings)
        found = None if entities is None else _gold(entities.get(key, []), text, f"{gold}: {key}", key, findings)
        posts.append(Post(key, text, pictures.find([key], key, where), found))
    for key in sorted((entities or {}).keys() - {post.id for post in posts}):
        findings.add("unknown_post", f"{gold}: {key}", f"there is no text {key!r}; its entities are left out")
    return findings.posts(posts)


def read_ccks_answers(path: str | os.PathLike[str], posts: Sequence[Post]) -> Predictions:
    """Read answers to the CCKS-2025 shared task: `{"1004": [{"name", "label", "bnd"}]}`.

    Every row is an entity of its own, also where a name has several boxes. A `bnd` that is not a box is `UNREADABLE`.
    Neither gold nor answers have offsets, so a name of the gold is where the gold has it, and equal names are the same
    mention. Other names are located in the text as in `read_ccks`; the order of the rows does not matter.

    Args:
        path: The file.
        posts: The posts that the predictions are for, by their ids.

    Raises:
        InputError: The file does not exist.
        DataError: A record has another form, or no key is the id of a post; the error names it.
    """
    path, known = Path(path), {post.id: post for post in posts}
    record = record_of(load_json(path), str(path))
    if record and not record.keys() & known.keys():
        accepted = f"ids such as {next(iter(known), 'none')}"
        raise DataError(f"{path}: no key is the id of a post", received=next(iter(record)), accepted=accepted)
    answers = []
    for key, value in record.items():
        triples = list(_triples(value, f"{path}: {key}"))
        post = known.get(key)
        if post is None:  # reported by `evaluate`
            answers.append(Prediction(key, ""))
        else:
            answers.append(_where_the_gold_is(placed_prediction(post, triples, ordered=False), post))
    return Predictions(answers, posts)


def _where_the_gold_is(prediction: Prediction, post: Post) -> Prediction:
    """The same prediction, with the names of the gold where the gold has them."""
    named = {entity.span: entity.key for entity in reversed(post.gold)}
    typed = {(entity.span, entity.type): entity.key for entity in reversed(post.gold)}
    entities, taken = list[GroundedEntity](), set[tuple[int, int]]()
    for entity in prediction.entities:
        start, end = key = typed.get((entity.span, entity.type)) or named.get(entity.span, entity.key)
        how = Alignment.REUSED if key in taken and entity.span in named else entity.alignment
        entities.append(replace(entity, start=start, end=end, alignment=how))
        taken.add(key)
    return replace(prediction, entities=tuple(entities))


def is_ccks_answers(value: object) -> bool:
    """Whether a JSON value has the form that `read_ccks_answers` reads."""
    return isinstance(value, dict) and bool(value) and all(isinstance(rows, list) for rows in value.values())


def _gold(rows: object, text: str, where: str, post: str, findings: OddityLog) -> tuple[GoldEntity, ...]:
    boxes: dict[tuple[str, str], list[Box]] = {}
    for name, kind, region in _triples(rows, where):
        boxes.setdefault((name, kind), []).extend(region)
    entities = []
    places = place_spans([name for name, _ in boxes], text, ordered=False)
    for ((name, kind), regions), (start, end, how) in zip(boxes.items(), places, strict=True):
        if how is Alignment.MISSING:
            findings.add("name_not_in_text", where, f"{name!r} is not in the text and is left out", post=post)
            continue
        if UNREADABLE in regions:
            raise DataError(f"{where}: invalid box of {name!r}", accepted="`bnd` with xmin, ymin, xmax, ymax, or null")
        entities.append(GoldEntity(text[start:end], start, end, kind, tuple(dict.fromkeys(regions))))
    return tuple(sorted(entities, key=lambda entity: entity.key))


def _triples(rows: object, where: str) -> Iterator[Triple]:
    for item in list_of(rows, "entities", where):
        row = record_of(item, where)
        name, kind = row.get("name"), row.get("label")
        if not isinstance(name, str) or not name.strip() or not isinstance(kind, str):
            raise DataError(f"{where}: `name` and `label` must be strings", received=dict(row))
        yield name.strip(), kind, _region(row.get("bnd"))


def _region(bounds: Any) -> tuple[Box, ...]:
    if bounds is None:
        return ()
    sides = [bounds.get(side) for side in _SIDES] if isinstance(bounds, Mapping) else None
    return (box_or_unreadable(sides),)


def _read(location: DatasetLocation) -> Posts:
    return read_ccks(location.path, location.split or "sample", location.images)


def _detects(location: DatasetLocation) -> bool:
    return location.path.is_dir() and any(location.path.glob(f"*{_TEXTS}"))


CCKS = Reader("ccks", _read, _detects)
