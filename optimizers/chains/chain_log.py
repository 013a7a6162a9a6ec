"""`ChainLog`: chains on the disk as a teacher writes them, and how a line is read again."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from gmner.data.prediction import checked_box, checked_object, checked_string
from gmner.optimizers.chains.chain import Chain
from gmner.signatures.errors import DataError, GmnerError

_KEYS, _SAID = {"post_id", "style", "reasoning", "entities"}, {"author", "problem"}
_PLACE = {"span", "start", "end", "type", "box"}


class ChainLog:
    """Chains as a teacher writes them, one a line, so that a pass that was killed goes on where it was.

    A line that a kill cut is dropped when the file is opened again. The log does not know what its chains were made
    for: it belongs in a run directory, which does. For one process at a time, and any number of its threads.

    Args:
        path: The file; made when it is not there.

    Raises:
        DataError: A whole line that is no chain; the fact names file and line.

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
        """The chains so far by post id and style; of two with the same, the later one."""
        with self._lock:
            return dict(self._chains)

    def append(self, chain: Chain) -> None:
        """Keep a chain: when this returns, a kill of this process does not lose it.

        Raises:
            ValueError: The log is closed.
        """
        line = json.dumps(chain.to_record()).encode() + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            self._chains[chain.post_id, chain.style] = chain

    def close(self) -> None:
        """Close the file; what was appended stays."""
        self._file.close()

    def __enter__(self) -> ChainLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _resume(self) -> None:
        """Read the whole lines of the file and cut what stands behind the last of them."""
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            with faults_of(f"{self.path}:{number}"):
                chain = chain_of(line)
            self._chains[chain.post_id, chain.style] = chain
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))


@contextmanager
def faults_of(where: str) -> Iterator[None]:
    """Every fault that the block finds is one of the data: a `DataError` whose fact begins with the place."""
    try:
        yield
    except GmnerError as error:
        fact = f"{where}: {error.fact}"
        raise DataError(fact, received=error.received, accepted=error.accepted, remedy=error.remedy) from error


def chain_of(line: bytes) -> Chain:
    """The chain of a line made by `Chain.to_record`; `author` and `problem` may be missing.

    Raises:
        DataError: Not JSON, other keys, or values of another form.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", received=line.decode(errors="replace"), remedy=str(error)) from error
    fields = checked_object(record, _KEYS, "a chain", _SAID)
    for name in (_KEYS | _SAID) - {"entities"}:
        checked_string(fields.get(name, ""), name)
    if not isinstance(fields["entities"], list):
        raise DataError("The entities of a chain are not a list", received=fields["entities"])
    for entity in fields["entities"]:
        _check_entity(entity)
    return Chain.from_record(fields)


def _check_entity(record: object) -> None:
    place = checked_object(record, _PLACE, "an entity of a chain")
    span, start, end = checked_string(place["span"], "span"), place["start"], place["end"]
    checked_string(place["type"], "type")
    if type(start) is not int or type(end) is not int or end - start != len(span) or not 0 <= start < end:
        raise DataError("A span does not fit its offsets", received=(span, start, end), accepted="end - start signs")
    if place["box"] is not None:
        checked_box(place["box"])
