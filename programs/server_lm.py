"""`ServedLM`: an LM on an OpenAI-compatible server that logs retries and notices answers that were cut off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.exceptions import LMError, is_retryable_lm_error

from gmner.programs.engine.batching import ended_within
from gmner.programs.error_causes import broken_off, error_line
from gmner.programs.local_engine import is_served
from gmner.programs.named_lm import NamedLM

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cut:
    """An answer that a server cut off at its token limit.

    Attributes:
        tokens: Number of tokens of the answer; None: the server does not report it.
    """

    tokens: int | None


_CUTS: ContextVar[list[Cut] | None] = ContextVar("cut answers", default=None)
_MUTED: ContextVar[bool] = ContextVar("no history", default=False)


@contextmanager
def noting_cuts() -> Iterator[list[Cut]]:
    """Collect the answers in this block that were cut off; only calls of a `ServedLM` are recorded."""
    cuts: list[Cut] = []
    token = _CUTS.set(cuts)
    try:
        yield cuts
    finally:
        _CUTS.reset(token)


class ServedLM(NamedLM):
    """A `dspy.LM` that logs a warning before every retry.

    A request is retried if the server is busy, fails, cannot be reached or closes the connection, or if its reply
    breaks off.

    Args:
        model: See `dspy.LM`.
        num_retries: Number of retries. The waiting time is the one that the server requests, or 1, 2, 4, ... seconds.
        **settings: Passed to `dspy.LM`.
    """

    def __init__(self, model: str, *, num_retries: int = 3, **settings: Any) -> None:
        super().__init__(model, num_retries=0, **settings)  # DSPy would retry without logging
        self.attempts = num_retries + 1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `dspy.LM`."""
        with self._reading():
            for attempt in range(1, self.attempts):
                try:
                    return super().__call__(*args, **kwargs)
                except LMError as error:
                    if ended_within(self._wait(error, attempt)):
                        raise
            return super().__call__(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """`__call__` for asyncio."""
        with self._reading():
            for attempt in range(1, self.attempts):
                try:
                    return await super().acall(*args, **kwargs)
                except LMError as error:
                    wait = self._wait(error, attempt)
                await asyncio.sleep(wait)
            return await super().acall(*args, **kwargs)

    def update_history(self, entry: dict[str, Any]) -> None:
        """Record whether the answer was cut off; DSPy gives access to the whole response only here."""
        cuts = _CUTS.get()
        if cuts is not None and _was_cut(entry.get("response")):
            usage = entry.get("usage")
            tokens = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
            cuts.append(Cut(tokens if isinstance(tokens, int) else None))
        if not _MUTED.get():
            super().update_history(entry)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Make DSPy call `update_history` even if its history is disabled."""
        token = _MUTED.set(bool(dspy.settings.disable_history))
        try:
            with dspy.context(disable_history=False):
                yield
        finally:
            _MUTED.reset(token)

    def _wait(self, error: LMError, attempt: int) -> float:
        """Log the retry and return the seconds to wait; raises the error if a retry cannot help."""
        size = broken_off(error)
        if size is None and not is_retryable_lm_error(error):
            raise error
        wait = error.retry_after if error.retry_after is not None else min(2.0 ** (attempt - 1), 60.0)
        fact = "did not respond" if error.status is None else f"returned status {error.status}"
        fact = fact if size is None else f"closed the connection after {size} characters of its reply"
        _LOG.warning(
            "The server %s (attempt %d of %d); retrying in %g s: %s",
            fact,
            attempt,
            self.attempts,
            wait,
            error_line(error),
        )
        return wait


def logging_retries(lm: dspy.BaseLM) -> dspy.BaseLM:
    """Convert a `dspy.LM` on a server to a `ServedLM`, which logs retries; other LMs are returned unchanged.

    The `ServedLM` shares the history of the LM.
    """
    if type(lm) is not dspy.LM or not is_served(lm):
        return lm
    served = ServedLM.__new__(ServedLM)
    served.__dict__.update(lm.__dict__)
    served.attempts, served.num_retries = lm.num_retries + 1, 0
    return served


def _was_cut(response: Any) -> bool:
    """Whether a response, or one of several, was cut off at the token limit."""
    parts = response if isinstance(response, (tuple, list)) else [response]
    for part in parts:
        choices = _field(part, "choices") or [part]
        if any(_field(choice, "finish_reason") == "length" for choice in choices):
            return True
    return False


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
