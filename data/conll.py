"""CoNLL files of tweets: blocks of `token<TAB>tag...` lines under an image id, and BIO tags."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gmner.signatures.errors import DataError

_LOG = logging.getLogger(__name__)
_HEADER = "IMGID:"
_TAG = re.compile(r"O|[BI]-\S+")
# What a file name made of an id could be misread by.
_UNSAFE_ID = re.compile(r"[\\/\x00-\x1f:]|^\.*$")


@dataclass(frozen=True, slots=True)
class Block:
    """One tweet of a CoNLL file.

    Attributes:
        id: The image id, safe as a file name.
        tokens: The tokens.
        tags: One tag a token, of the column that was asked for.
        path: The file.
        line: Number of the first token's line, from 1; tokens stand on consecutive lines.
    """

    id: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    path: Path
    line: int


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A mention as tokens `first` (included) to `last` (excluded)."""

    first: int
    last: int
    type: str


def read_blocks(path: Path, column: int = 1) -> Iterator[Block]:
    r"""Read the tweets of a CoNLL file, in order.

    A tweet is a line `IMGID:<id>`, then one line a token, then a blank line, which may be missing at the end of the
    file. LF and CRLF are both read.

    Args:
        path: The file, UTF-8.
        column: Which column holds the tag; 0 is the token.

    Raises:
        DataError: A line of another form; the fact names file and line.

    Source: Twitter-GMNER (Yu et al., ACL 2023) and Twitter-FMNERG (Wang et al., 2023) share this form.
    """
    header: tuple[str, int] | None = None
    rows: list[tuple[str, str]] = []
    for number, line in [*_lines(path), (0, "")]:
        if line.startswith(_HEADER) or not line.strip():
            if header is not None:
                yield _block(header, rows, path)
            header = (_checked_id(line, path, number), number) if line.strip() else None
            rows = []
        elif header is None:
            raise DataError(f"{path}:{number}: a token stands under no `{_HEADER}` line", received=line)
        else:
            rows.append(_row(line, column, path, number))


def spans(block: Block) -> list[TokenSpan]:
    """The mentions of a tweet from its BIO tags, in text order.

    Directly adjacent mentions are kept apart. A stray `I-` (after `O`, or of another type) starts a mention of its own
    and is logged with file and line.
    """
    found: list[TokenSpan] = []
    for index, tag in enumerate(block.tags):
        if tag == "O":
            continue
        mark, name = tag[0], tag[2:]
        follows = bool(found) and found[-1].last == index and found[-1].type == name
        if mark == "I" and follows:
            found[-1] = TokenSpan(found[-1].first, index + 1, name)
            continue
        if mark == "I":
            _LOG.warning("%s:%d: a stray %s starts a mention", block.path, block.line + index, tag)
        found.append(TokenSpan(index, index + 1, name))
    return found


def offsets(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Character offsets (start, end) of tokens in the text that joins them by one space."""
    result, at = [], 0
    for token in tokens:
        result.append((at, at + len(token)))
        at += len(token) + 1
    return result


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # Only "\n" ends a line: tokens hold other signs that str.splitlines would break at.
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8", remedy=str(error)) from error


def _row(line: str, column: int, path: Path, number: int) -> tuple[str, str]:
    cells = line.split("\t")
    if len(cells) <= column or not cells[0].strip() or not _TAG.fullmatch(cells[column]):
        raise DataError(f"{path}:{number}: not a token and its tag", received=line, accepted="token<TAB>O, B-X or I-X")
    return cells[0], cells[column]


def _checked_id(line: str, path: Path, number: int) -> str:
    name = line.removeprefix(_HEADER).strip()
    if _UNSAFE_ID.search(name):
        raise DataError(f"{path}:{number}: an image id is no file name", received=name)
    return name


def _block(header: tuple[str, int], rows: list[tuple[str, str]], path: Path) -> Block:
    name, number = header
    if not rows:
        raise DataError(f"{path}:{number}: a tweet without tokens", received=name)
    return Block(name, tuple(t for t, _ in rows), tuple(t for _, t in rows), path, number + 1)
