"""Readers of Twitter-GMNER and Twitter-FMNERG: CoNLL text with Pascal VOC boxes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from gmner.data.oddities import MissingImages, OddityLog, Posts
from gmner.data.post import Post
from gmner.data.readers.conll import Block, TokenSpan, check_joiner, mentions, offsets, read_blocks, spans
from gmner.data.readers.image_folder import Folders, Pictures, find_pictures
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.data.readers.sources import FolderListing, UniqueIds, list_folder, split_file
from gmner.data.readers.voc import NamedBox, read_boxes
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GoldEntity

Granularity = Literal["fine", "coarse"]

_IMAGE_FOLDERS = ("images", "twitter10000", "twitter10000_images", "twitterGMNER_images", "img")
# Granularity -> the requested column, and the other one.
_COLUMNS = {"fine": (2, 1), "coarse": (1, 2)}


def read_twitter_gmner(
    root: str | os.PathLike[str],
    split: str,
    images: Folders | None = None,
    *,
    missing_images: MissingImages = "warn",
    joiner: str = " ",
) -> Posts:
    """Read a split of Twitter-GMNER ("Twitter10000", v1 and v2.0).

    The text is the tokens joined with `joiner`, not unescaped; offsets refer to that text. The boxes of an entity
    are all objects whose name equals its words, including case, so two mentions with the same words share them. Without
    such an object, or without an XML file, the entity is not shown. Coordinates are the numbers of the annotation
    (1-based pixels of the original image; xmax and ymax may equal its size), converted to float.

    Unusual data is read, logged, and listed in `.oddities` with file and line or object: a stray `I-` starts a mention
    (`stray_inside_tag`); an object that names no entity is left out (`orphan_object`); a second tweet with the same id
    gets the id `<id>#2` (`duplicate_id`); a missing image is None (`missing_image`, logged as one line with the count;
    `no_image_folder` if there is no folder); an image that is a link to a place outside the folders is not read
    (`link_outside`); without any XML file, no entity is shown (`no_boxes`). See `read_boxes`, `read_blocks` and
    `mentions` for the others.

    Args:
        root: The folder with `txt/<split>.txt` and `xml/<image id>.xml`.
        split: `train`, `dev` or `test`.
        images: The folder with `<image id>.jpg` (or `.jpeg`, `.png`, `.JPG`), or several, which are searched in this
            order; None: `images/`, `twitter10000/` and similar folders under `root`.
        missing_images: `warn`: a post whose image is missing is read with `image=None`; `error`: it is a `DataError`.
        joiner: What separates the tokens in the text: a space, or nothing (`joiner=""`) for data in a script without
            spaces whose tokens are characters, such as Chinese.

    Returns:
        The posts in the order of the file.

    Raises:
        InputError: The folder or split does not exist; the error names the splits that do. Or `joiner` is a text.
        DataError: A line or an XML file is malformed, a file or its folder is a link to a place outside `root`, or an
            image is missing with `missing_images="error"`. The error names file and line, or post and folders.

    Source: Yu et al., "Grounded Multimodal Named Entity Recognition on Social Media", ACL 2023.
    """
    check_joiner(joiner)
    root, findings = Path(root), OddityLog()
    path = split_file(root / "txt", split, root, "Pass the folder that holds txt/ and xml/")
    pictures = find_pictures(root, images, _IMAGE_FOLDERS, findings, missing_images)
    blocks = read_blocks(path, findings=findings)
    return findings.posts(_Joined(root, pictures, findings, joiner).posts(blocks))


def read_twitter_fmnerg(
    root: str | os.PathLike[str],
    split: str,
    images: Folders | None = None,
    *,
    granularity: Granularity = "fine",
    missing_images: MissingImages = "warn",
    joiner: str = " ",
) -> Posts:
    """Read a split of Twitter-FMNERG: the tweets, spans and boxes of Twitter-GMNER with 8 coarse and 51 fine types.

    Lines are `token<TAB>coarse tag<TAB>fine tag`. The types are those of the file, see `labels_of`. A mention with
    different bounds in the other column is an oddity (`bounds_differ`). Everything else is as in `read_twitter_gmner`.

    Args:
        root: The folder with `txt_fine/<split>.txt`, or `txt/<split>.txt` of three columns, and `xml/`.
        split: `train`, `dev` or `test`.
        images: As for `read_twitter_gmner`.
        granularity: Whether entities have their `fine` or their `coarse` type.
        missing_images: As for `read_twitter_gmner`.
        joiner: As for `read_twitter_gmner`.

    Raises:
        InputError: As for `read_twitter_gmner`, or `granularity` has another value.
        DataError: As for `read_twitter_gmner`.

    Source: Wang et al., "Fine-grained Multimodal Named Entity Recognition and Grounding with a Generative Framework",
    ACM MM 2023.
    """
    if granularity not in _COLUMNS:
        raise InputError("granularity must be 'fine' or 'coarse'", received=granularity)
    check_joiner(joiner)
    root, findings = Path(root), OddityLog()
    folder = root / "txt_fine" if (root / "txt_fine").is_dir() else root / "txt"
    path = split_file(folder, split, root, "Pass the folder that holds txt_fine/ and xml/")
    pictures = find_pictures(root, images, _IMAGE_FOLDERS, findings, missing_images)
    blocks = _agreeing(read_blocks(path, _COLUMNS[granularity], findings), findings)
    return findings.posts(_Joined(root, pictures, findings, joiner).posts(blocks))


def _agreeing(blocks: Iterable[Block], findings: OddityLog) -> Iterator[Block]:
    """The same blocks; those whose two columns disagree on the bounds of a mention are reported."""
    for block in blocks:
        asked, other = ({(span.first, span.last) for span in spans(tags)} for tags in block.tags)
        if asked != other:
            first = min(asked ^ other)[0]
            findings.add("bounds_differ", block.place(first), "the coarse and the fine column differ in a mention")
        yield block


class _Joined:
    """Joins tweets with their boxes and images. Each XML file is read once."""

    def __init__(self, root: Path, pictures: Pictures, findings: OddityLog, joiner: str) -> None:
        self._root, self._pictures, self._findings, self._joiner = root, pictures, findings, joiner
        self._folder = root / "xml"
        self._xml = self._listing()

    def posts(self, blocks: Iterable[Block]) -> list[Post]:
        """The posts, in the order of the blocks."""
        blocks, ids = list(blocks), UniqueIds(self._findings)
        mentions_by_block = [self._mentions(block) for block in blocks]
        objects = self._objects(blocks, mentions_by_block)
        return [
            Post(
                id=ids.of(block.id, block.place()),
                text=self._joiner.join(block.tokens),
                image=self._pictures.find([block.id], block.id, block.place()),
                entities=self._entities(block, spans_, objects.get(block.id, [])),
                tokens=block.tokens,
            )
            for block, spans_ in zip(blocks, mentions_by_block, strict=True)
        ]

    def _mentions(self, block: Block) -> list[TokenSpan]:
        return mentions(block.tokens, block.tags[0], block.place, self._findings)

    def _words(self, block: Block, span: TokenSpan) -> str:
        return self._joiner.join(block.tokens[span.first : span.last])

    def _entities(self, block: Block, token_spans: list[TokenSpan], objects: list[NamedBox]) -> tuple[GoldEntity, ...]:
        places = offsets(block.tokens, self._joiner)
        entities = []
        for span in token_spans:
            words = self._words(block, span)
            boxes = dict.fromkeys(box for name, box in objects if name == words)
            entities.append(GoldEntity(words, places[span.first][0], places[span.last - 1][1], span.type, tuple(boxes)))
        return tuple(entities)

    def _objects(self, blocks: list[Block], mentions_by_block: list[list[TokenSpan]]) -> dict[str, list[NamedBox]]:
        """The boxes of the tweets that have any, by id. Objects that no tweet with this id names are reported."""
        words: dict[str, set[str]] = {}
        places: dict[str, str] = {}
        for block, spans_ in zip(blocks, mentions_by_block, strict=True):
            words.setdefault(block.id, set()).update(self._words(block, span) for span in spans_)
            places.setdefault(block.id, block.place())
        result = {}
        for name, named in words.items():
            boxes = self._boxes(name)
            if boxes:
                result[name] = boxes
            for orphan in sorted({object_ for object_, _ in boxes} - named):
                where = f"{self._folder / name}.xml: object {orphan!r}"
                message = f"matches no entity of {places[name]} and is ignored{_similar_name(orphan, named)}"
                self._findings.add("orphan_object", where, message)
        return result

    def _boxes(self, name: str) -> list[NamedBox]:
        file = f"{name}.xml"
        if file in self._xml.outside:
            raise DataError(f"{self._folder / file}: a link that leads outside {self._root}")
        return read_boxes(Path(self._xml.files[file]), self._findings) if file in self._xml.files else []

    def _listing(self) -> FolderListing:
        listing = list_folder(self._folder, [self._root])
        if not listing.files and not listing.outside:
            self._findings.add(
                "no_boxes", str(self._folder), "the folder has no XML file, so all entities count as not shown"
            )
        return listing


def _similar_name(orphan: str, named: Iterable[str]) -> str:
    """A hint if an object differs from an entity only in white space or case."""
    similar = [words for words in sorted(named) if _folded(words) == _folded(orphan)]
    return f": it differs from {similar[0]!r} in white space or case" if similar else ""


def _folded(words: str) -> str:
    return "".join(words.split()).casefold()


def _is_gmner(location: DatasetLocation) -> bool:
    return location.folder_with("txt", without=("posts.jsonl",))


def _is_fmnerg(location: DatasetLocation) -> bool:
    return location.folder_with("txt_fine", without=("txt", "posts.jsonl"))


def _read_gmner(location: DatasetLocation) -> Posts:
    return read_twitter_gmner(location.path, location.split, location.images, joiner=location.joiner)


def _read_fmnerg(location: DatasetLocation, granularity: Granularity = "fine") -> Posts:
    return read_twitter_fmnerg(
        location.path, location.split, location.images, granularity=granularity, joiner=location.joiner
    )


TWITTER_GMNER = Reader("twitter", _read_gmner, _is_gmner, options=("joiner",))
TWITTER_FMNERG = Reader("fmnerg", _read_fmnerg, _is_fmnerg, options=("joiner",))
TWITTER_FMNERG_COARSE = Reader("fmnerg-coarse", partial(_read_fmnerg, granularity="coarse"), options=("joiner",))
