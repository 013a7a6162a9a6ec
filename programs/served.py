"""A model behind a server of the OpenAI form, by its address alone."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import dspy
import openai
from dspy.utils.exceptions import LMError, is_retryable_lm_error

from gmner.programs.batching import ended_within
from gmner.programs.failures import said
from gmner.programs.families import ModelProfile, profile_for_name
from gmner.signatures.errors import ModelError

_LOG = logging.getLogger(__name__)
_KEY = "OPENAI_API_KEY"
_PATIENCE = 10.0  # seconds for the list of models


class ServedLM(dspy.LM):
    """A `dspy.LM` that logs a warning for every request that it is about to repeat.

    Args:
        model: See `dspy.LM`.
        num_retries: Requests after the first one, when the server is busy, fails or cannot be reached. Waits as long as
            the server says, else 1, 2, 4, ... seconds.
        **settings: For `dspy.LM`.
    """

    def __init__(self, model: str, *, num_retries: int = 3, **settings: Any) -> None:
        super().__init__(model, num_retries=0, **settings)  # DSPy would wait without a word
        self.attempts = num_retries + 1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `dspy.LM`."""
        for attempt in range(1, self.attempts):
            try:
                return super().__call__(*args, **kwargs)
            except LMError as error:
                if ended_within(self._wait(error, attempt)):
                    raise
        return super().__call__(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """`__call__` for asyncio."""
        for attempt in range(1, self.attempts):
            try:
                return await super().acall(*args, **kwargs)
            except LMError as error:
                wait = self._wait(error, attempt)
            await asyncio.sleep(wait)
        return await super().acall(*args, **kwargs)

    def _wait(self, error: LMError, attempt: int) -> float:
        """Seconds to wait before the next attempt, which are logged; raises an error that a repetition cannot mend."""
        if not is_retryable_lm_error(error):
            raise error
        wait = error.retry_after if error.retry_after is not None else min(2.0 ** (attempt - 1), 60.0)
        fact = "did not answer" if error.status is None else f"answered with status {error.status}"
        _LOG.warning(
            "The server %s (attempt %d of %d); retrying in %g s: %s", fact, attempt, self.attempts, wait, said(error)
        )
        return wait


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
