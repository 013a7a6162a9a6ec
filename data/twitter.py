"""Reader of Twitter-GMNER: CoNLL text with Pascal VOC boxes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from gmner.data.conll import Block, offsets, read_blocks, spans
from gmner.data.post import Post
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GoldEntity

_LOG = logging.getLogger(__name__)
_IMAGE_FOLDERS = ("images", "twitter10000", "twitter10000_images", "twitterGMNER_images", "img")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")

NamedBox = tuple[str, Box]


def read_twitter_gmner(
    root: str | os.PathLike[str], split: str, images: str | os.PathLike[str] | None = None
) -> list[Post]:
    """Read a split of Twitter-GMNER (v2.0, "Twitter10000").

    Text is the tokens joined by one space, not unescaped; offsets are into that text. An entity's boxes are all objects
    whose name equals its words, case-sensitive: two mentions with the same words share them; without such an object, or
    without an XML file, the entity is not shown. Coordinates are the annotation's own numbers (1-based pixels of the
    original image; xmax and ymax may equal its size) as floats, unchanged.

    What an older version leaves untidy is logged with file and line or object, and reading goes on: a stray `I-` starts
    a mention, an object that names no entity is left out, a second tweet of the same id gets the id `<id>#2`.

    Args:
        root: The folder with `txt/<split>.txt` and `xml/<image id>.xml`.
        split: `train`, `dev` or `test`.
        images: The folder with `<image id>.jpg`; None: `images/`, `twitter10000/` and the like under `root`. A post
            whose picture is not there has `image=None`.

    Raises:
        InputError: No such folder or split; the splits that exist are named.
        DataError: A malformed line (file and line are named) or XML file (the file is named).

    Source: Yu et al., "Grounded Multimodal Named Entity Recognition on Social Media", ACL 2023.
    """
    root = Path(root)
    blocks = read_blocks(split_file(root / "txt", split))
    return build_posts(blocks, root / "xml", picture_folders(root, images))


def split_file(folder: Path, split: str) -> Path:
    """The file of a split.

    Raises:
        InputError: No such folder or split; the splits that exist are named.
    """
    found = sorted(path.stem for path in folder.glob("*.txt"))
    if split not in found:
        raise InputError(
            f"{folder} has no such split",
            received=split,
            accepted=", ".join(found) or "nothing: the folder is missing or empty",
            remedy="Pass the folder that holds txt/ and xml/",
        )
    return folder / f"{split}.txt"


def picture_folders(root: Path, images: str | os.PathLike[str] | None) -> list[Path]:
    """The folders in which pictures are looked for.

    Raises:
        InputError: `images` is given and is no folder.
    """
    if images is None:
        return [root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()]
    if not Path(images).is_dir():
        raise InputError("The folder of the pictures does not exist", received=str(images))
    return [Path(images)]


def build_posts(blocks: Iterable[Block], xml_folder: Path, folders: Sequence[Path]) -> list[Post]:
    """Join tweets with their boxes and pictures.

    Args:
        blocks: The tweets, with tags of whatever label set.
        xml_folder: The folder with `<image id>.xml`.
        folders: Where the pictures are looked for, first match wins.

    Raises:
        DataError: A malformed line or XML file.
    """
    pictures = {path.name: path for folder in reversed(folders) for path in folder.iterdir()}
    posts, seen = [], dict[str, int]()
    for block in blocks:
        seen[block.id] = seen.get(block.id, 0) + 1
        objects = read_boxes(xml_folder / f"{block.id}.xml")
        posts.append(
            Post(
                id=_unique_id(block, seen[block.id]),
                text=" ".join(block.tokens),
                image=pictures.get(f"{block.id}.jpg"),
                entities=_entities(block, objects),
                tokens=block.tokens,
            )
        )
    return posts


def read_boxes(path: Path) -> list[NamedBox]:
    """The named boxes of a Pascal VOC file: (name, box), the file's numbers as floats; [] where there is no file.

    Raises:
        DataError: Not XML, entities or a DTD in it, or an object without a name and four numbers; the file is named.
    """
    try:
        tree = parse(path, forbid_dtd=True)
    except FileNotFoundError:
        return []
    except (ParseError, DefusedXmlException, OSError, ValueError, LookupError) as error:
        raise DataError(f"{path}: not a readable XML file", remedy=str(error)) from error
    return [_named_box(item, path) for item in tree.iter("object")]


def _named_box(item: Element, path: Path) -> NamedBox:
    name = item.findtext("name")
    corners = [item.findtext(f"bndbox/{corner}") for corner in _CORNERS]
    try:
        box = Box(*(float(corner) for corner in corners if corner is not None))
        if not name:
            raise ValueError("the object has no name")
    except (TypeError, ValueError, InputError) as error:
        raise DataError(
            f"{path}: object {name!r} has no usable box",
            received=corners,
            accepted="a name and xmin, ymin, xmax, ymax",
            remedy=str(error),
        ) from error
    return name, box


def _entities(block: Block, objects: list[NamedBox]) -> tuple[GoldEntity, ...]:
    places = offsets(block.tokens)
    entities = []
    for span in spans(block):
        words = " ".join(block.tokens[span.first : span.last])
        boxes = dict.fromkeys(box for name, box in objects if name == words)
        start, end = places[span.first][0], places[span.last - 1][1]
        entities.append(GoldEntity(words, start, end, span.type, tuple(boxes)))
    for name in sorted({name for name, _ in objects} - {entity.span for entity in entities}):
        _LOG.warning("%s:%d: the object %r of %s.xml names no entity", block.path, block.line, name, block.id)
    return tuple(entities)


def _unique_id(block: Block, count: int) -> str:
    if count == 1:
        return block.id
    _LOG.warning("%s:%d: the id %s occurs again and is read as %s#%d", block.path, block.line, *[block.id] * 2, count)
    return f"{block.id}#{count}"
