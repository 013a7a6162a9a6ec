"""The causes of an exception: a `GmnerError` in its chain, or a server's reply that breaks off."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dspy.utils.exceptions import LMProviderError

from gmner.signatures.errors import GmnerError

_LONGEST = 400


def own_error(error: BaseException | None) -> GmnerError | None:
    """The `GmnerError` in an exception's chain of causes, or None."""
    return next((link for link in chain_of(error) if isinstance(link, GmnerError)), None)


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes; an exception raised by several threads may be its own cause."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def broken_off(error: BaseException) -> int | None:
    """The number of characters after which a server's reply breaks off; None: it is complete, or another error."""
    if not isinstance(error, LMProviderError) or error.status not in (None, 200):
        return None
    cause = next((link for link in chain_of(error) if isinstance(link, json.JSONDecodeError)), None)
    if cause is None or not cause.doc.lstrip().startswith("{"):
        return None if cause is None or cause.doc.strip() else 0
    ends = cause.pos >= len(cause.doc.rstrip()) or cause.msg.startswith("Unterminated string")
    return len(cause.doc) if ends else None


def error_line(error: BaseException) -> str:
    """An exception in one line: its type and its message, shortened."""
    line = " ".join(str(error).split())
    line = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
