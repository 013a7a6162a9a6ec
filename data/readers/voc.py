"""Pascal VOC files: the named boxes of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from gmner.data.oddities import OddityLog
from gmner.data.readers.box_checks import odd_box
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")

NamedBox = tuple[str, Box]


def read_boxes(path: Path, findings: OddityLog | None = None) -> list[NamedBox]:
    """Read the named boxes of a Pascal VOC file, in its order; [] if the file does not exist.

    An object with several names or several `bndbox` is one box for each combination. Namespaces are ignored. Objects
    and parts within an object are not objects of the image.

    Args:
        path: The file.
        findings: Records what is unusual, by file and object: a box outside the stated size (`box_outside_image`) or
            without area (`zero_area_box`), see `odd_box`; objects within other elements (`nested_object`); surrounding
            or repeated white space in a name (`white_space_in_name`).

    Returns:
        Pairs of (name, box) with the names and numbers of the file, as floats (1-based pixels of the original image;
        xmax and ymax may equal its size).

    Raises:
        DataError: The file is not XML, contains entities or a DTD, or has an object without a name and four numbers;
            the error names the file.
    """
    try:
        tree = parse(path, forbid_dtd=True)
        _drop_namespaces(tree)
        objects = tree.findall("object")
    except FileNotFoundError:
        return []
    except (ParseError, DefusedXmlException, OSError, ValueError, LookupError, RecursionError) as error:
        raise DataError(f"{path}: not a readable XML file", remedy=str(error)) from error
    boxes = [pair for item in objects for pair in _named_boxes(item, path)]
    if findings is not None:
        deeper = len(list(tree.iter("object"))) - len(objects)
        if deeper:
            message = f"{deeper} objects are within another element and are left out"
            findings.add("nested_object", str(path), message)
        width, height = (_number(tree.findtext(f"size/{side}")) for side in ("width", "height"))
        for name, box in boxes:
            for kind, message in _odd(name, box, width, height):
                findings.add(kind, f"{path}: object {name!r}", message)
    return boxes


def _named_boxes(item: Element, path: Path) -> list[NamedBox]:
    names = [name.text or "" for name in item.findall("name")]
    places: list[Element | None] = [*item.findall("bndbox")] or [None]
    return [(name, _box(place, names, path)) for place in places for name in names or [""]]


def _box(place: Element | None, names: Sequence[str], path: Path) -> Box:
    corners = [None if place is None else place.findtext(corner) for corner in _CORNERS]
    try:
        missing = [name for name, corner in zip(_CORNERS, corners, strict=True) if corner is None]
        if missing:
            raise ValueError(f"there is no {', '.join(missing)}")
        box = Box(*(float(corner) for corner in corners if corner is not None))
        if not names or not all(name.strip() for name in names):
            raise ValueError("an object has no name")
    except (TypeError, ValueError, InputError) as error:
        raise DataError(
            f"{path}: object {', '.join(map(repr, names)) or 'without name'} has no valid box",
            received=corners,
            accepted="a name and xmin, ymin, xmax, ymax",
            remedy=str(error),
        ) from error
    return box


def _drop_namespaces(tree: ElementTree) -> None:
    """Rename `{address}object` to `object`, because tools put the elements of VOC into different namespaces."""
    for element in tree.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]


def _odd(name: str, box: Box, width: float, height: float) -> Iterator[tuple[str, str]]:
    yield from odd_box(box, (width, height))
    if name != " ".join(name.split()):
        yield (
            "white_space_in_name",
            "the name contains white space that entities do not have; names are compared exactly",
        )


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
