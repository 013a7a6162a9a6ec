"""Reader of MNER-MI and MNER-MI-Plus: posts with several images and no boxes."""

from __future__ import annotations

import ast
import json
import os
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gmner.data.oddities import MissingImages, OddityLog, Posts
from gmner.data.post import Post
from gmner.data.readers.conll import check_joiner, is_tag, mentions, offsets
from gmner.data.readers.image_folder import Folders, Pictures, find_pictures
from gmner.data.readers.json_values import id_of, record_of, strings_of
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.data.readers.sources import UniqueIds, list_folder, text_lines
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GoldEntity

_IMAGE_FOLDERS = ("images", "twitter2017_images")
_TEXT_FOLDERS = ("text", "")
_SUFFIXES = (".txt", ".jsonl", ".json")
# Names of the same split in different data sets.
_SYNONYMS = {"dev": "val", "val": "dev"}
# MNER-MI-Plus writes the image `O_26.jpg` of Twitter-2017 as `twitter2017-O_26.jpg`.
_PREFIX = "twitter2017-"
_BROKEN = (ValueError, SyntaxError, TypeError, RecursionError, MemoryError)


def read_mner_mi(
    root: str | os.PathLike[str],
    split: str = "train",
    images: Folders | None = None,
    *,
    corpus: str = "MNER-MI",
    missing_images: MissingImages = "warn",
    joiner: str = " ",
) -> Posts:
    """Read a split of MNER-MI, or of MNER-MI-Plus, which joins it with Twitter-2017.

    A line is `{"id": 5302, "text": [tokens], "images": ["5302_0.jpg", ...], "label": ["O", ..., "B-PER"], "url": ""}`.
    The text is the tokens joined with `joiner`; offsets refer to that text. The data has no boxes: the posts have
    `grounded=False`, and only MNER can be scored. Types are those of the file (PER, LOC, ORG, MIS; MISC in the
    Twitter-2017 part). The first image that exists is `image`, the others are `more_images`.

    Unusual data is read, logged, and listed in `.oddities` with file and line, for example a line that is a Python
    literal instead of JSON (`python_literal`), a post without an id, which gets the number of its line (`no_id`), a
    repeated id (`duplicate_id`), a stray `I-` (`stray_inside_tag`) or a missing image (`missing_image`).

    Args:
        root: The folder with `text/<corpus>_<split>.txt` and `images/`, or the file itself.
        split: `train`, `val` (also `dev`) or `test`; ignored if `root` is a file.
        images: One or several image folders; None: `images/` and `twitter2017_images/` in the folder, or beside the
            file or its folder.
        corpus: `MNER-MI`, or `MNER-UNI` for MNER-MI-Plus; ignored if `root` is a file.
        missing_images: `warn`: a missing image is left out; `error`: it is a `DataError`.
        joiner: What separates the tokens in the text: a space, or nothing (`joiner=""`) for data in a script without
            spaces whose tokens are characters, such as Chinese.

    Returns:
        The posts in the order of the file.

    Raises:
        InputError: The file or split does not exist; the error names the files that do. Or `joiner` is a text.
        DataError: A line is malformed, or has different numbers of tokens and labels; the error names file and line.

    Source: Huang et al., "MNER-MI: A Multi-image Dataset for Multimodal Named Entity Recognition in Social Media",
    LREC-COLING 2024.
    """
    check_joiner(joiner)
    path, findings = Path(root), OddityLog()
    folder = path
    if path.is_file():
        folder = path.parent.parent if path.parent.name == "text" else path.parent
    else:
        path = _split_file(path, split, corpus)
    pictures = find_pictures(folder, images, _IMAGE_FOLDERS, findings, missing_images)
    return findings.posts(_Reader(path, pictures, findings, joiner).posts())


def _split_file(root: Path, split: str, corpus: str) -> Path:
    available: list[str] = []
    for folder in (root / name for name in _TEXT_FOLDERS):
        files = list_folder(folder, [root]).files
        for name in (split, _SYNONYMS.get(split, split)):
            for stem in (f"{corpus}_{name}", name):
                for suffix in _SUFFIXES:
                    if stem + suffix in files:
                        return folder / (stem + suffix)
        available += sorted(name for name in files if name.endswith(_SUFFIXES))
    raise InputError(
        f"{root} has no such split",
        received=f"{corpus}_{split}",
        accepted=", ".join(available) or "none, because the folder is missing or empty",
        remedy="Pass the folder that holds text/, or the file",
    )


class _Reader:
    """Reads the lines of one file."""

    def __init__(self, path: Path, pictures: Pictures, findings: OddityLog, joiner: str) -> None:
        self._path, self._pictures, self._findings, self._joiner = path, pictures, findings, joiner
        self._ids = UniqueIds(findings)

    def posts(self) -> list[Post]:
        """The posts, in the order of the file."""
        posts = [self._post(line, number) for number, line in text_lines(self._path) if line.strip()]
        if not posts:
            self._findings.add("empty_file", str(self._path), "the file contains no post")
        return posts

    def _post(self, line: str, number: int) -> Post:
        where = f"{self._path}:{number}"
        record = self._record(line, where)
        tokens, tags = self._tokens(record, where)
        name = id_of(record.get("id"), where, self._findings)
        if name is None:
            self._findings.add("no_id", where, f"the post has no id and is read as {number}", quiet=True)
            name = str(number)
        unique = self._ids.of(name, where)
        pictures = self._images(record, unique, where)
        return Post(
            id=unique,
            text=self._joiner.join(tokens),
            image=pictures[0] if pictures else None,
            entities=self._entities(tokens, tags, where),
            tokens=tokens,
            more_images=tuple(pictures[1:]),
            grounded=False,
        )

    def _record(self, line: str, where: str) -> Mapping[str, Any]:
        try:
            return record_of(json.loads(line), where)
        except (ValueError, RecursionError) as error:
            value = _literal(line)
            if not isinstance(value, dict):
                raise DataError(f"{where}: not JSON", received=line, remedy=str(error)) from error
        self._findings.add("python_literal", where, "the line is read as a Python literal, not as JSON", quiet=True)
        return value

    def _tokens(self, record: Mapping[str, Any], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        tokens, tags = (strings_of(record.get(key), key, where, self._findings) for key in ("text", "label"))
        if len(tokens) != len(tags):
            raise DataError(f"{where}: {len(tokens)} tokens but {len(tags)} labels", received=record)
        if not any(token.strip() for token in tokens):
            raise DataError(f"{where}: the post has no words", received=record)
        for tag in tags:
            if not is_tag(tag):
                raise DataError(f"{where}: invalid BIO tag", received=tag, accepted="O, B-X or I-X")
        return tokens, tags

    def _entities(self, tokens: tuple[str, ...], tags: tuple[str, ...], where: str) -> tuple[GoldEntity, ...]:
        places, text = offsets(tokens, self._joiner), self._joiner.join(tokens)
        entities = []
        for span in mentions(tokens, tags, lambda index: f"{where}: token {index + 1}", self._findings):
            start, end = places[span.first][0], places[span.last - 1][1]
            entities.append(GoldEntity(text[start:end], start, end, span.type))
        return tuple(entities)

    def _images(self, record: Mapping[str, Any], post: str, where: str) -> list[Path]:
        value = record.get("images")
        names = [value] if isinstance(value, str) else [] if value is None else value
        paths = []
        for name in strings_of(names, "images", where, self._findings):
            path = self._pictures.find([name, name.removeprefix(_PREFIX)], post, where)
            if path is not None:
                paths.append(path)
        return paths


def _literal(line: str) -> object:
    """The value of a line that is a Python dict literal, or None. No code is run."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in the data
            return ast.literal_eval(line.strip())
    except _BROKEN:
        return None


def _detects(location: DatasetLocation) -> bool:
    return location.folder_with("text", without=("txt", "posts.jsonl"))


def _read(location: DatasetLocation, corpus: str = "MNER-MI") -> Posts:
    split = location.split or "train"
    return read_mner_mi(location.path, split, location.images, corpus=corpus, joiner=location.joiner)


MNER_MI = Reader("mner-mi", _read, _detects, options=("joiner",))
MNER_MI_PLUS = Reader("mner-mi-plus", partial(_read, corpus="MNER-UNI"), options=("joiner",))
