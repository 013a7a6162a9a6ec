"""The JSON of SAKE and UnCo: a list of posts with tokens, and a row for each box of an entity.

Source: SAKE (Tang et al.), `sake_rl/data`, and UnCo, `annotations`; both derive from MQSPN's reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gmner.data.oddities import MissingImages, OddityLog, Posts
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.readers.conll import check_joiner, offsets
from gmner.data.readers.image_folder import Folders, Pictures, find_pictures
from gmner.data.readers.json_values import list_of, load_json, record_of, strings_of, text_of, whole_number
from gmner.data.readers.placing import PostsByImage, box_or_unreadable, gold_box, image_key, place_spans
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError
from gmner.signatures.mentions import GoldEntity, GroundedEntity

_IMAGE_FOLDERS = ("images", "IJCAI2019_data", "twitter_images")
_IMAGE_KEYS = ("img_id", "image_id")
Types = Literal["fine", "coarse"]


def read_entity_json(
    path: str | os.PathLike[str],
    images: Folders | None = None,
    *,
    granularity: Types = "fine",
    missing_images: MissingImages = "warn",
    joiner: str = " ",
) -> Posts:
    """Read gold in the JSON form of SAKE and UnCo.

    `[{"tokens": [...], "img_id": "71044.jpg", "gt_entities": [{"start": 5, "end": 6, "entity_type": "LOC", "phrase":
    "Garfield Park", "region_box": [x1, y1, x2, y2]}]}]`. Indices are of tokens, and `end` is the last token. An empty
    `region_box` is not shown. Rows of one mention with several boxes become one entity. The id of a post is the name of
    its image without the extension, as in Twitter-GMNER. This gold lacks mentions that directly follow another one.

    Args:
        path: The file.
        images: One or several image folders; None: `images` and similar folders beside the file.
        granularity: Which types of Twitter-FMNERG: `entity_type` (fine) or `entity_coarse_type` (coarse).
        missing_images: See `read_twitter_gmner`.
        joiner: As for `read_twitter_gmner`.

    Raises:
        InputError: The file does not exist, or `joiner` is not white space.
        DataError: A record has another form; the error names it.
    """
    check_joiner(joiner)
    path, findings = Path(path), OddityLog()
    records = list_of(load_json(path), "posts", str(path))
    pictures = find_pictures(path.parent, images, _IMAGE_FOLDERS, findings, missing_images)
    reader = _Reader(pictures, findings, "entity_coarse_type" if granularity == "coarse" else "entity_type", joiner)
    return findings.posts([reader.post(record, where) for record, where in _records(records, path)])


def read_entity_json_answers(path: str | os.PathLike[str], posts: Sequence[Post]) -> Predictions:
    """Read answers in the JSON form of SAKE and UnCo.

    `[{"img_id": "71044.jpg", "pre_entities": [{"phrase": "Garfield Park", "entity_type": "LOC", "region_box": []}]}]`.
    In place of `phrase`, an entity may have the indices `start` and `end` (the last token), for posts with tokens; if
    it has both, the indices count where their tokens are the phrase. In place of `region_box`, it may have
    `mapping_regions` and the number of one of them as `region`, 0 for not shown.

    Args:
        path: The file.
        posts: The posts that the predictions are for, found by the name of their image or by their id.

    Raises:
        InputError: The file does not exist.
        DataError: A record has another form, its image belongs to no post or to several, or two records are of one
            post; the error names file and record.
    """
    path, known = Path(path), PostsByImage(posts)
    answers: dict[str, Prediction] = {}
    for record, where in _records(list_of(load_json(path), "answers", str(path)), path):
        image = _image(record, where)
        post = known.find(image_key(image))
        if post is None:
            raise DataError(f"{where}: the image is of no post", received=image, accepted=f"such as {known.example}")
        if post.id in answers:
            raise DataError(f"{where}: an earlier record has the same image", received=image)
        answers[post.id] = _prediction(post, list_of(record.get("pre_entities"), "pre_entities", where), where)
    return Predictions(answers.values(), posts)


def is_entity_json(value: object, key: str) -> bool:
    """Whether a JSON value has the form of SAKE and UnCo; `key` is `gt_entities` or `pre_entities`."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and key in value[0]


class _Reader:
    """Converts records to posts."""

    def __init__(self, pictures: Pictures, findings: OddityLog, type_key: str, joiner: str) -> None:
        self._pictures, self._findings, self._type_key, self._joiner = pictures, findings, type_key, joiner

    def post(self, record: Mapping[str, Any], where: str) -> Post:
        """The post of one record."""
        tokens = strings_of(record.get("tokens"), "tokens", where, self._findings)
        image = _image(record, where)
        id_, text, places = image_key(image), self._joiner.join(tokens), offsets(tokens, self._joiner)
        boxes: dict[tuple[int, int, str], list[Box]] = {}
        for row in _rows(record.get("gt_entities"), "gt_entities", where):
            first, last = _token_range(row, len(tokens), where)
            kind = text_of(row.get(self._type_key), self._type_key, where, self._findings)
            if " ".join(tokens[first : last + 1]) != row.get("phrase"):
                fact = f"the phrase {row.get('phrase')!r} is not what its tokens say; the tokens are used"
                self._findings.add("other_phrase", where, fact, post=id_)
            region = boxes.setdefault((places[first][0], places[last][1], kind), [])
            region += [box for box in _boxes(row, where, gold=True) if box not in region]
        entities = (GoldEntity(text[s:e], s, e, kind, tuple(found)) for (s, e, kind), found in sorted(boxes.items()))
        return Post(id_, text, self._pictures.find([image], id_, where), tuple(entities), tokens)


def _prediction(post: Post, rows: Sequence[Any], where: str) -> Prediction:
    entities, taken = list[GroundedEntity](), set[tuple[int, int]]()
    records = [record_of(row, where) for row in rows]
    phrases = [_string(row, "phrase", where) for row in records if not _by_index(row, post)]
    places = iter(zip(phrases, place_spans(phrases, post.text), strict=True))
    for row in records:
        if not _by_index(row, post):
            phrase, (start, end, how) = next(places)
            span = phrase if how is Alignment.MISSING else post.text[start:end]
        else:
            start, end = _offsets(post, row, where)
            how = Alignment.REUSED if (start, end) in taken else Alignment.EXACT
            span = post.text[start:end]
        taken.add((start, end))
        kind, boxes = _string(row, "entity_type", where), _boxes(row, where)
        entities.append(GroundedEntity(span, start, end, kind, boxes[0] if boxes else None, how))
    return Prediction(post.id, post.text, "", tuple(entities))


def _by_index(row: Mapping[str, Any], post: Post) -> bool:
    """Whether indices say where an entity is: it has no phrase, or one that its tokens say."""
    if "phrase" not in row:
        return True
    first, last, tokens = row.get("start"), row.get("end"), post.tokens or ()
    if type(first) is not int or type(last) is not int or not 0 <= first <= last < len(tokens):
        return False
    return " ".join(tokens[first : last + 1]) == row["phrase"]


def _string(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise DataError(f"{where}: `{name}` must be a string", received=dict(row))
    return value


def _offsets(post: Post, row: Mapping[str, Any], where: str) -> tuple[int, int]:
    """The characters of a range of tokens."""
    if post.tokens is None:
        raise DataError(
            f"{where}: an entity has the indices of tokens, but post {post.id} has no tokens",
            received=dict(row),
            accepted="entities with `phrase`, or posts of a data set with tokens",
        )
    first, last = _token_range(row, len(post.tokens), where)
    # What separates the tokens follows from the length of the text.
    gaps = len(post.text) - sum(map(len, post.tokens))
    places = offsets(post.tokens, " " * (gaps // max(1, len(post.tokens) - 1)))
    return places[first][0], places[last][1]


def _token_range(row: Mapping[str, Any], tokens: int, where: str) -> tuple[int, int]:
    first, last = (whole_number(row.get(name), name, where) for name in ("start", "end"))
    if not 0 <= first <= last < tokens:
        raise DataError(f"{where}: no tokens {first} to {last}", received=[first, last], accepted=f"0 to {tokens - 1}")
    return first, last


def _boxes(row: Mapping[str, Any], where: str, *, gold: bool = False) -> tuple[Box, ...]:
    """The box of a row as a tuple; empty if the entity is not shown. An unreadable box is only accepted in answers."""
    region = row.get("region_box", [])
    if "region_box" not in row and "mapping_regions" in row:
        number = whole_number(row.get("region", 0), "region", where)
        regions = list_of(row["mapping_regions"], "mapping_regions", where)
        if not 0 <= number <= len(regions):
            raise DataError(f"{where}: no such region", received=number, accepted=f"0 to {len(regions)}")
        region = regions[number - 1] if number else []
    if region is None or region == []:
        return ()
    return (gold_box(region, where) if gold else box_or_unreadable(region),)


def _records(values: Sequence[Any], path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    for number, value in enumerate(values):
        where = f"{path}: record {number}"
        yield record_of(value, where), where


def _rows(value: object, name: str, where: str) -> Iterator[Mapping[str, Any]]:
    return (record_of(item, where) for item in list_of(value, name, where))


def _image(record: Mapping[str, Any], where: str) -> str:
    name = next((record[key] for key in _IMAGE_KEYS if key in record), None)
    if not isinstance(name, str) or not name:
        raise DataError(f"{where}: `img_id` must be the name of an image", received=name)
    return name


def _read(location: DatasetLocation, granularity: Types = "fine") -> Posts:
    return read_entity_json(location.path, location.images, granularity=granularity, joiner=location.joiner)


def _detects(location: DatasetLocation) -> bool:
    if location.path.suffix != ".json" or not location.path.is_file():
        return False
    try:
        return is_entity_json(load_json(location.path), "gt_entities")
    except DataError:  # not JSON; a file of JSON lines may have this suffix
        return False


ENTITY_JSON = Reader("entity-json", _read, _detects, options=("joiner",))
ENTITY_JSON_COARSE = Reader("entity-json-coarse", partial(_read, granularity="coarse"), options=("joiner",))
