"""CoNLL files of tweets: blocks of `token<TAB>tag...` lines under an image id, and BIO tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gmner.data.oddities import OddityLog
from gmner.data.readers.sources import text_lines
from gmner.signatures.errors import DataError, InputError

_HEADER = "IMGID:"
_TAG = re.compile(r"O|[BI]-\S+")
# Characters with a special meaning in file names, and names that consist of dots.
_UNSAFE_ID = re.compile(r"[\\/\x00-\x1f\x7f:]|^\.*$")


@dataclass(frozen=True, slots=True)
class Block:
    """One tweet of a CoNLL file.

    Attributes:
        id: The image id, safe as a file name.
        tokens: The tokens.
        tags: For each requested column, one tag per token.
        path: The file.
        line: Number of the line of the first token, from 1; the tokens are on consecutive lines.
    """

    id: str
    tokens: tuple[str, ...]
    tags: tuple[tuple[str, ...], ...]
    path: Path
    line: int

    def place(self, token: int = 0) -> str:
        """File and line of a token."""
        return f"{self.path}:{self.line + token}"


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A mention as tokens `first` (included) to `last` (excluded)."""

    first: int
    last: int
    type: str


def read_blocks(path: Path, columns: Sequence[int] = (1,), findings: OddityLog | None = None) -> Iterator[Block]:
    r"""Read the tweets of a CoNLL file, in order.

    A tweet is a line `IMGID:<id>`, one line per token, and a blank line, which may be missing at the end of the file.
    Line ends may be LF or CRLF; a byte order mark is ignored.

    Args:
        path: The file, UTF-8.
        columns: The columns with the requested tags; column 0 is the token.
        findings: Records what is unusual, by file and line: superfluous spaces or tabs (`white_space`), a token that
            consists of white space other than the space (`blank_token`), a file without tweets (`empty_file`).

    Raises:
        DataError: A line has another form; the error names file and line.

    Source: Twitter-GMNER (Yu et al., ACL 2023) and Twitter-FMNERG (Wang et al., 2023) share this format.
    """
    rows = _Rows(path, columns, findings or OddityLog())
    header: tuple[str, int] | None = None
    token_rows: list[tuple[str, ...]] = []
    empty = True
    for number, line in [*text_lines(path), (0, "")]:
        if line.startswith(_HEADER) or not line.strip():
            if header is not None:
                yield _block(header, token_rows, path)
                empty = False
            header = (_checked_id(line, path, number), number) if line.strip() else None
            token_rows = []
        elif header is None:
            raise DataError(f"{path}:{number}: a token has no `{_HEADER}` line above it", received=line)
        else:
            token_rows.append(rows.read(line, number))
    if empty:
        rows.findings.add("empty_file", str(path), "the file contains no tweet")


def spans(tags: Sequence[str]) -> list[TokenSpan]:
    """The mentions of BIO tags, in text order.

    Adjacent mentions are kept apart. A stray `I-` (after `O`, or of another type) starts a new mention.
    """
    token_spans: list[TokenSpan] = []
    for index, tag in enumerate(tags):
        if tag == "O":
            continue
        mark, name = tag[0], tag[2:]
        follows = bool(token_spans) and token_spans[-1].last == index and token_spans[-1].type == name
        if mark == "I" and follows:
            token_spans[-1] = TokenSpan(token_spans[-1].first, index + 1, name)
        else:
            token_spans.append(TokenSpan(index, index + 1, name))
    return token_spans


def mentions(
    tokens: Sequence[str], tags: Sequence[str], place: Callable[[int], str], findings: OddityLog
) -> list[TokenSpan]:
    """The mentions of a post, in text order, without blank tokens at their ends.

    Args:
        tokens: The tokens.
        tags: One valid tag per token, see `is_tag`.
        place: Number of a token -> its location, for the oddities.
        findings: Records what is unusual: `stray_inside_tag`, and `blank_mention` for a mention of blank tokens only,
            which is left out.
    """
    kept = []
    for span in spans(tags):
        first, last = span.first, span.last
        if tags[first][0] == "I":
            findings.add("stray_inside_tag", place(first), f"a stray {tags[first]} starts a mention")
        while first < last and not tokens[first].strip():
            first += 1
        while first < last and not tokens[last - 1].strip():
            last -= 1
        if first < last:
            kept.append(TokenSpan(first, last, span.type))
        else:
            findings.add(
                "blank_mention", place(span.first), f"a mention of type {span.type} is only white space and is ignored"
            )
    return kept


def is_tag(text: str) -> bool:
    """Whether a text is `O`, `B-X` or `I-X`."""
    return _TAG.fullmatch(text) is not None


def offsets(tokens: Sequence[str], joiner: str = " ") -> list[tuple[int, int]]:
    """Character offsets (start, end) of tokens in the text that joins them with `joiner`."""
    result, at = [], 0
    for token in tokens:
        result.append((at, at + len(token)))
        at += len(token) + len(joiner)
    return result


def check_joiner(joiner: object) -> None:
    """Check the characters between tokens.

    Raises:
        InputError: `joiner` is not empty and not white space.
    """
    if not isinstance(joiner, str) or joiner.strip():
        raise InputError("joiner must be empty or white space", received=joiner, accepted="' ' or ''")


class _Rows:
    """Reads the lines of tokens. The columns after a token are checked once for each combination that occurs."""

    def __init__(self, path: Path, columns: Sequence[int], findings: OddityLog) -> None:
        self.findings = findings
        self._path, self._columns = path, tuple(columns)
        self._known: dict[str, tuple[str, ...]] = {}

    def read(self, line: str, number: int) -> tuple[str, ...]:
        """Token and tags of a line.

        Raises:
            DataError: The line has another form.
        """
        token, _, rest = line.partition("\t")
        tags = self._known.get(rest)
        if tags is None or not token or token[0] == " " or token[-1] == " ":
            token, tags = self._checked(line, number)
        if token.isspace():
            self.findings.add("blank_token", f"{self._path}:{number}", f"the token {token!r} is only white space")
        return (token, *tags)

    def _checked(self, line: str, number: int) -> tuple[str, tuple[str, ...]]:
        token, *cells = line.split("\t")
        tidy = [cell.strip(" ") for cell in cells if cell.strip(" ")]
        tags = tuple(tidy[column - 1] for column in self._columns if column <= len(tidy))
        if not token.strip(" ") or len(tags) < len(self._columns) or not all(map(is_tag, tags)):
            raise DataError(
                f"{self._path}:{number}: expected a token and its tag",
                received=line,
                accepted="<TAB>".join(["token"] + ["O, B-X or I-X"] * max(self._columns)),
            )
        if [token.strip(" "), *tidy] == [token, *cells]:
            self._known["\t".join(cells)] = tags
        else:
            self.findings.add("white_space", f"{self._path}:{number}", "superfluous spaces or tabs are ignored")
        return token.strip(" "), tags


def _checked_id(line: str, path: Path, number: int) -> str:
    name = line.removeprefix(_HEADER).strip()
    if _UNSAFE_ID.search(name):
        raise DataError(f"{path}:{number}: an image id is not a valid file name", received=name)
    return name


def _block(header: tuple[str, int], rows: list[tuple[str, ...]], path: Path) -> Block:
    name, number = header
    if not rows:
        raise DataError(f"{path}:{number}: a tweet has no tokens", received=name)
    tokens, *tags = zip(*rows, strict=True)
    return Block(name, tokens, tuple(tags), path, number + 1)
