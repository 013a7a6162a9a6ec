"""Models on OpenAI-compatible servers: logs retries and detects answers that were cut off."""

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
from gmner.programs.error_causes import broken_off, error_line
from gmner.programs.local_engine import is_served
from gmner.programs.models.families import ModelProfile, ProfileLike, Thinking, family_served_as, profile_for_name
from gmner.programs.named_lm import NamedLM
from gmner.signatures.errors import ModelError

_LOG = logging.getLogger(__name__)
_KEY = "OPENAI_API_KEY"
_TIMEOUT = 10.0  # seconds for the list of models


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


def speaking(lm: dspy.BaseLM) -> dspy.BaseLM:
    """Convert a `dspy.LM` on a server to a `ServedLM`, which logs retries; other LMs are returned unchanged.

    The `ServedLM` shares the history of the LM.
    """
    if type(lm) is not dspy.LM or not is_served(lm):
        return lm
    served = ServedLM.__new__(ServedLM)
    served.__dict__.update(lm.__dict__)
    served.attempts, served.num_retries = lm.num_retries + 1, 0
    return served


def served_lm(
    server: str,
    name: str | None = None,
    *,
    profile: ProfileLike | None = None,
    thinking: bool | None = None,
    **settings: Any,
) -> tuple[dspy.LM, ModelProfile]:
    """Create the LM of a model on a server, and its profile.

    The list of models is requested first, so that a wrong URL or name is reported immediately. The model family, which
    determines the coordinate convention, is inferred from the served name or from the name of the underlying model
    (vLLM's `root`). The API key is read from the environment variable OPENAI_API_KEY. DSPy's cache is disabled, because
    a server may serve another model under the same name later.

    Args:
        server: URL of the server, up to the part before `/chat/completions`: `http://localhost:8000/v1`.
        name: Name of the model on the server; None: its only model.
        profile: How the model writes boxes, if its name does not tell, or if the server has other pixel limits than the
            published model: see `load_vlm`.
        thinking: Whether the model thinks before it answers, which is sent as a variable of its chat template, see
            `template_switch`. None: as the server is set up.
        **settings: Passed to `ServedLM`, for instance `num_retries`, `timeout`, `temperature`.

    Raises:
        ModelError: The server does not respond, does not serve this model, or serves several and no name was given; or
            the family of the model is unknown, and no profile was given.

    Example:
        >>> lm, profile = served_lm("http://localhost:8000/v1")  # doctest: +SKIP
        >>> GMNER(lm, profile=profile)  # doctest: +SKIP
    """
    lm, names = served_model(server, name, thinking=thinking, **settings)
    return lm, profile_for_name(names, profile)


def served_model(
    server: str, name: str | None = None, *, thinking: bool | None = None, **settings: Any
) -> tuple[dspy.LM, str]:
    """Create the LM of a model on a server, and return its names: the weights that it serves first, then its own.

    Its family does not matter; see `served_lm` for the arguments and errors.
    """
    import openai  # takes long to import, and only this function needs it

    key = os.environ.get(_KEY) or "none"
    try:
        client = openai.OpenAI(base_url=server, api_key=key, timeout=_TIMEOUT, max_retries=1)
        models = {model.id: model for model in client.models.list()}
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        remedy = f"Check the URL, which must end in /v1, and set {_KEY} if the server requires a key"
        raise ModelError(f"The server did not return its models: {error}", received=server, remedy=remedy) from error
    served = ", ".join(models) or "none"
    if name is None and len(models) != 1:
        raise ModelError(
            "The server does not have exactly one model", received=served, remedy="Pass the name of one of them"
        )
    if name is not None and name not in models:
        raise ModelError("The server has no model of this name", received=name, accepted=served)
    chosen = models[name or next(iter(models))]
    names = " ".join(filter(None, (getattr(chosen, "root", None), chosen.id, getattr(chosen, "parent", None))))
    if thinking is not None:
        settings["extra_body"] = {**settings.get("extra_body", {}), **template_switch(names, on=thinking)}
    lm = ServedLM(
        f"openai/{chosen.id}", **{"api_base": server, "api_key": key, "max_tokens": None, "cache": False, **settings}
    )
    return lm, names


def template_switch(names: str, *, on: bool) -> dict[str, Any]:
    """The body of a request that switches thinking on or off in the chat template of a model on vLLM or SGLang.

    Args:
        names: The names of the model.
        on: Whether it thinks.

    Raises:
        ModelError: The chat templates of its family have no switch.
    """
    family = family_served_as(names)
    switch = (family.thinking if family is not None and family.thinking is not None else Thinking()).switch
    if switch is None:
        remedy = "Serve it with another chat template"
        raise ModelError("Thinking of this model cannot be switched", received=names, remedy=remedy)
    return {"chat_template_kwargs": {switch: on}}


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
