"""Collects the thinking of the LM calls of a block, which DSPy's adapters do not pass on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_THOUGHTS: ContextVar[list[str] | None] = ContextVar("thoughts", default=None)


@contextmanager
def noting_thoughts() -> Iterator[list[str]]:
    """Collect the thinking of the answers in this block; only calls of a `NamedLM` are recorded."""
    thoughts: list[str] = []
    token = _THOUGHTS.set(thoughts)
    try:
        yield thoughts
    finally:
        _THOUGHTS.reset(token)


def note_thoughts(outputs: Iterable[Any]) -> None:
    """Record the thinking in the outputs of a `dspy.LM`, each a text or a mapping with `reasoning_content`."""
    collected = _THOUGHTS.get()
    if collected is None or not isinstance(outputs, (list, tuple)):
        return
    for output in outputs:
        thinking = output.get("reasoning_content") if isinstance(output, Mapping) else None
        if isinstance(thinking, str) and thinking.strip():
            collected.append(thinking.strip())
