"""A model behind a server of the OpenAI form: its repeated requests are logged, and its cut answers are noticed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.exceptions import LMError, is_retryable_lm_error

from gmner.programs.engine.batching import ended_within
from gmner.programs.error_causes import broken_off, said
from gmner.programs.local_engine import is_served
from gmner.programs.models.families import ModelProfile, profile_for_name
from gmner.signatures.errors import ModelError

_LOG = logging.getLogger(__name__)
_KEY = "OPENAI_API_KEY"
_PATIENCE = 10.0  # seconds for the list of models


@dataclass(frozen=True, slots=True)
class Cut:
    """An answer that a server ended because its limit of tokens was reached.

    Attributes:
        tokens: How many tokens it has; None: the server does not say.
    """

    tokens: int | None


_CUTS: ContextVar[list[Cut] | None] = ContextVar("cut answers", default=None)
_MUTED: ContextVar[bool] = ContextVar("no history", default=False)


@contextmanager
def noting_cuts() -> Iterator[list[Cut]]:
    """The answers of this block's calls that were cut, as they come; only a `ServedLM` says so."""
    cuts: list[Cut] = []
    token = _CUTS.set(cuts)
    try:
        yield cuts
    finally:
        _CUTS.reset(token)


class ServedLM(dspy.LM):
    """A `dspy.LM` that logs a warning for every request that it is about to repeat.

    A request is repeated when the server is busy, fails, cannot be reached or closes the connection, and when its reply
    breaks off in the middle.

    Args:
        model: See `dspy.LM`.
        num_retries: Requests after the first one. Waits as long as the server says, else 1, 2, 4, ... seconds.
        **settings: For `dspy.LM`.
    """

    def __init__(self, model: str, *, num_retries: int = 3, **settings: Any) -> None:
        super().__init__(model, num_retries=0, **settings)  # DSPy would wait without a word
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
        """Note whether the answer was cut; DSPy shows the whole response nowhere else."""
        cuts = _CUTS.get()
        if cuts is not None and _was_cut(entry.get("response")):
            usage = entry.get("usage")
            tokens = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
            cuts.append(Cut(tokens if isinstance(tokens, int) else None))
        if not _MUTED.get():
            super().update_history(entry)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Have DSPy hand its entries to `update_history` even where no history is kept."""
        token = _MUTED.set(bool(dspy.settings.disable_history))
        try:
            with dspy.context(disable_history=False):
                yield
        finally:
            _MUTED.reset(token)

    def _wait(self, error: LMError, attempt: int) -> float:
        """Seconds to wait before the next attempt, which are logged; raises an error that a repetition cannot mend."""
        size = broken_off(error)
        if size is None and not is_retryable_lm_error(error):
            raise error
        wait = error.retry_after if error.retry_after is not None else min(2.0 ** (attempt - 1), 60.0)
        fact = "did not answer" if error.status is None else f"answered with status {error.status}"
        fact = fact if size is None else f"broke its reply off after {size} characters"
        _LOG.warning(
            "The server %s (attempt %d of %d); retrying in %g s: %s", fact, attempt, self.attempts, wait, said(error)
        )
        return wait


def speaking(lm: dspy.BaseLM) -> dspy.BaseLM:
    """An LM that says what it repeats: a `dspy.LM` of a server as a `ServedLM`, with the same history; others as is."""
    if type(lm) is not dspy.LM or not is_served(lm):
        return lm
    speaker = ServedLM.__new__(ServedLM)
    speaker.__dict__.update(lm.__dict__)
    speaker.attempts, speaker.num_retries = lm.num_retries + 1, 0
    return speaker


def served_lm(server: str, name: str | None = None, **settings: Any) -> tuple[dspy.LM, ModelProfile]:
    """The LM of a server, and the profile of the model there.

    The server is asked what it serves, so that a wrong address or name is told at once. The family, and with it the box
    frame, is told from the served name, or from what the server says lies under it (vLLM's `root`). The key is that of
    the environment, OPENAI_API_KEY. DSPy's cache is off: another model may be served under the same name tomorrow.

    Args:
        server: Its address, with the path before `/chat/completions`: `http://localhost:8000/v1`.
        name: Name of the model there; None: the only one.
        **settings: For `ServedLM`, for instance `num_retries`, `timeout`, `temperature`.

    Raises:
        ModelError: The server does not answer, or serves no such model, or several and none was named.

    Example:
        >>> lm, profile = served_lm("http://localhost:8000/v1")  # doctest: +SKIP
        >>> GMNER(lm, profile=profile)  # doctest: +SKIP
    """
    import openai  # of the command's modules only this function needs it

    key = os.environ.get(_KEY) or "none"
    try:
        client = openai.OpenAI(base_url=server, api_key=key, timeout=_PATIENCE, max_retries=1)
        models = {model.id: model for model in client.models.list()}
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        remedy = f"give the address up to /v1, and the key, if it wants one, as {_KEY}"
        raise ModelError(f"The server does not say what it serves: {error}", received=server, remedy=remedy) from error
    served = ", ".join(models) or "nothing"
    if name is None and len(models) != 1:
        raise ModelError("The server does not serve just one model", received=served, remedy="name one")
    if name is not None and name not in models:
        raise ModelError("The server has no such model", received=name, accepted=served)
    chosen = models[name or next(iter(models))]
    lm = ServedLM(
        f"openai/{chosen.id}", **{"api_base": server, "api_key": key, "max_tokens": None, "cache": False, **settings}
    )
    return lm, profile_for_name(f"{chosen.id} {getattr(chosen, 'root', '')}")


def _was_cut(response: Any) -> bool:
    """Whether a response, or one of several, ended at its limit of tokens."""
    parts = response if isinstance(response, (tuple, list)) else [response]
    for part in parts:
        choices = _field(part, "choices") or [part]
        if any(_field(choice, "finish_reason") == "length" for choice in choices):
            return True
    return False


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
