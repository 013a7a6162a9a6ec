"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from gmner.signatures.labels import LabelSet

POSTS = "JSONL with id, text and image on each line, or a data set folder (with --split)"
"""Help of an argument that names posts."""

GOLD = "annotated posts: JSONL with id, text, image and entities on each line, or a data set folder (with --split)"
"""Help of an argument that names annotated posts."""

MODEL = "model folder, Hub id or saved bundle (default: the embedded model, which only knows its synthetic world)"
"""Help of `--model`."""


class Names:
    """Names of a registry in another room, which is imported when they are first needed.

    As `choices` of an argument, or as its attribute `names` for `%(names)s` in its help, they let the parser be built
    without importing that room.

    Args:
        load: Imports and returns the names.
    """

    def __init__(self, load: Callable[[], Iterable[str]]) -> None:
        self._load = load

    def __str__(self) -> str:
        """The names, separated by commas."""
        return ", ".join(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __contains__(self, name: object) -> bool:
        return name in list(self)


def offer(
    action: argparse.Action,
    names: Callable[[], Iterable[str]],
    *,
    described: Callable[[], Iterable[str]] | None = None,
    also: Iterable[str] = (),
) -> None:
    """Name the values of an argument: in its help, as `%(names)s`, and to a shell that completes it.

    Args:
        action: The argument.
        names: Imports and returns the names.
        described: The same for the help; None: `names`.
        also: Further values that the shell completes.
    """
    action.names = Names(described or names)  # type: ignore[attr-defined]
    action.completer = lambda **_: [*also, *names()]  # type: ignore[attr-defined]


def add_output(parser: argparse.ArgumentParser, metavar: str, text: str, *, required: bool = True) -> None:
    """Add `-o` and `--overwrite`.

    Args:
        parser: The parser of a command.
        metavar: What the output is called in the usage.
        text: Help of `-o`.
        required: Whether `-o` must be given.
    """
    parser.add_argument("-o", "--output", type=Path, required=required, metavar=metavar, help=text)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output (never an input)")


def add_dataset(parser: argparse.ArgumentParser, *, split: bool = True) -> None:
    """Add the arguments that say how posts are read, from `--split` to `--joiner`.

    Args:
        parser: The parser of a command.
        split: Whether to add `--split`.
    """
    if split:
        parser.add_argument("--split", metavar="SPLIT", help="split of the data set: train, dev or test")
    images = "image folder (repeatable); image paths must stay inside it"
    parser.add_argument("--images", type=Path, action="append", metavar="DIR", help=images)
    formats = "data format, one of %(names)s (default: auto, detected from the files)"
    action = parser.add_argument("--format", default="auto", metavar="FORMAT", help=formats)
    offer(action, _format_names, also=["auto"])
    parser.add_argument("--instances", type=Path, metavar="JSON", help="COCO's instances.json (only for --format grec)")
    targets = "leave out expressions with more than N targets (only for --format grec; the paper: 1)"
    parser.add_argument("--most-targets", type=positive_int, metavar="N", help=targets)
    joiner = "what separates the tokens in the texts of token data (default: a space)"
    parser.add_argument("--joiner", metavar="SPACE", help=f"{joiner}; '' for scripts without spaces")
    rename = "rename an entity type of the posts (repeatable), for example MIS=OTHER for MNER-MI"
    parser.add_argument("--rename-type", type=_renamed, action="append", default=[], metavar="OLD=NEW", help=rename)


def _renamed(text: str) -> tuple[str, str]:
    """`OLD=NEW` as a pair."""
    old, _, new = (part.strip() for part in text.partition("="))
    if not old or not new:
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=NEW")
    return old, new


def add_limit_pictures(parser: argparse.ArgumentParser) -> None:
    """Add `--limit-pictures`."""
    text = "use only the first N images of a post that has more, which is logged (default: all)"
    parser.add_argument("--limit-pictures", type=positive_int, metavar="N", help=text)


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add `--labels`; read it with `read_labels`."""
    labels = "entity types: names separated by commas, or a JSON file with a list of names or an object"
    described = "{name: description} (default: PER,LOC,ORG,OTHER)"
    parser.add_argument("--labels", metavar="A,B", help=f"{labels} {described}")


def read_labels(given: argparse.Namespace) -> LabelSet | None:
    """The label set of `--labels`, or None without it.

    Raises:
        InputError: The label set is invalid, or its file does not exist.
        DataError: The file is not UTF-8 or not JSON.
    """
    from gmner.data.readers.json_values import load_json
    from gmner.signatures.labels import as_labels

    if given.labels is None:
        return None
    if given.labels.endswith(".json"):
        return as_labels(load_json(Path(given.labels)))
    return as_labels([name.strip() for name in given.labels.split(",")])


_N = TypeVar("_N", int, float)


def _positive(convert: Callable[[str], _N], description: str) -> Callable[[str], _N]:
    """The type of an argument that must be a positive, finite number.

    Args:
        convert: Converts the word of the command line; raises `ValueError` for an invalid one.
        description: What the argument must be, for the error message.
    """

    def parse(word: str) -> _N:
        try:
            number = convert(word)
        except ValueError:
            number = convert("0")
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"must be {description} (got {word!r})")
        return number

    return parse


positive_int = _positive(int, "an integer of at least 1")
positive_minutes = _positive(float, "a positive number of minutes")


def _format_names() -> Iterable[str]:
    from gmner.data.readers.readers import READERS

    return READERS
