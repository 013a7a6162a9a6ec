"""What an exception came from: the error of this library in its chain of causes, and a reply that breaks off."""

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
    """An exception and what it came from; one that several threads raised may be its own cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def broken_off(error: BaseException) -> int | None:
    """After how many characters the reply of a server breaks off; None: it is whole, or the error is another one."""
    if not isinstance(error, LMProviderError) or error.status not in (None, 200):
        return None
    found = next((link for link in chain_of(error) if isinstance(link, json.JSONDecodeError)), None)
    if found is None or not found.doc.lstrip().startswith("{"):
        return None if found is None or found.doc.strip() else 0
    ends = found.pos >= len(found.doc.rstrip()) or found.msg.startswith("Unterminated string")
    return len(found.doc) if ends else None


def said(error: BaseException) -> str:
    """An exception as one line: its type and its message, shortened."""
    line = " ".join(str(error).split())
    line = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
