"""`ChainLog`: saves each chain as soon as a teacher has written it; and the parser of its lines."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from gmner.data.prediction import checked_box, checked_object, checked_string, in_picture
from gmner.optimizers.chains.chain import Chain
from gmner.signatures.errors import DataError, GmnerError

_REQUIRED, _OPTIONAL = {"post_id", "style", "reasoning", "entities"}, {"author", "problem"}
_ENTITY_KEYS, _ENTITY_OPTIONS = {"span", "start", "end", "type", "box"}, {"picture", "more_boxes"}


class ChainLog:
    """A file of chains, one per line, from which an interrupted pass resumes.

    A truncated last line is dropped when the file is opened again. The log does not record what its chains were made
    for, so it belongs in a run directory, which does. One process may use it at a time, with any number of threads.

    Args:
        path: The file; created if it does not exist.

    Raises:
        DataError: A complete line that is not a chain; the message names file and line.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "chains.part"
        >>> with ChainLog(path) as log:
        ...     log.append(Chain("1", "stepwise", "Names: none.", ()))
        >>> with ChainLog(path) as log:
        ...     list(log.chains)
        [('1', 'stepwise')]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._chains: dict[tuple[str, str], Chain] = {}
        self._lock = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._resume()
        self._file = self.path.open("ab")

    @property
    def chains(self) -> dict[tuple[str, str], Chain]:
        """The chains so far by post id and style; of two with the same key, the later one."""
        with self._lock:
            return dict(self._chains)

    def append(self, chain: Chain) -> None:
        """Save a chain. After the return, it survives a crash of this process.

        Raises:
            ValueError: The log is closed.
        """
        line = json.dumps(chain.to_record()).encode() + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            self._chains[chain.post_id, chain.style] = chain

    def close(self) -> None:
        """Close the file; its chains are kept."""
        self._file.close()

    def __enter__(self) -> ChainLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _resume(self) -> None:
        """Read the complete lines of the file and truncate it after the last of them."""
        data = self.path.read_bytes() if self.path.exists() else b""
        complete = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(complete.split(b"\n")[:-1], 1):
            with faults_of(f"{self.path}:{number}"):
                chain = chain_of(line)
            self._chains[chain.post_id, chain.style] = chain
        if len(complete) < len(data):
            os.truncate(self.path, len(complete))


@contextmanager
def faults_of(where: str) -> Iterator[None]:
    """Convert each `GmnerError` of the block to a `DataError` whose fact starts with the location."""
    try:
        yield
    except GmnerError as error:
        fact = f"{where}: {error.fact}"
        raise DataError(fact, received=error.received, accepted=error.accepted, remedy=error.remedy) from error


def chain_of(line: bytes) -> Chain:
    """Parse a line written from `Chain.to_record`; `author` and `problem` may be missing.

    Raises:
        DataError: Not JSON, other keys, or values of another form.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", received=line.decode(errors="replace"), remedy=str(error)) from error
    fields = checked_object(record, _REQUIRED, "a chain", _OPTIONAL)
    for name in (_REQUIRED | _OPTIONAL) - {"entities"}:
        checked_string(fields.get(name, ""), name)
    if not isinstance(fields["entities"], list):
        raise DataError("The entities of a chain must be a list", received=fields["entities"])
    for entity in fields["entities"]:
        _check_entity(entity)
    return Chain.from_record(fields)


def _check_entity(record: object) -> None:
    entity = checked_object(record, _ENTITY_KEYS, "an entity of a chain", _ENTITY_OPTIONS)
    span, start, end = checked_string(entity["span"], "span"), entity["start"], entity["end"]
    checked_string(entity["type"], "type")
    if type(start) is not int or type(end) is not int or end - start != len(span) or not 0 <= start < end:
        raise DataError(
            "A span does not match its offsets", received=(span, start, end), accepted="end - start characters"
        )
    box = None if entity["box"] is None else checked_box(entity["box"])
    more = entity.get("more_boxes", [])
    if box is None and {"picture", "more_boxes"} & entity.keys():
        raise DataError("`picture` and `more_boxes` of an entity require `box`", received=entity)
    if box is not None and "picture" in entity:
        in_picture(box, entity["picture"])
    if not isinstance(more, list):
        raise DataError("`more_boxes` must be a list", received=more)
    for further in more:
        _check_further_box(further)


def _check_further_box(value: object) -> None:
    """Check a box as `gmner.signatures.forms.box_data` writes it."""
    numbers = value if isinstance(value, list) else []
    box = checked_box(numbers[:4] if len(numbers) == 5 else value)
    if len(numbers) == 5:
        in_picture(box, numbers[4])
