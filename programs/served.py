"""A model behind a server of the OpenAI form, by its address alone."""

from __future__ import annotations

import os
from typing import Any

import dspy
import openai

from gmner.programs.families import ModelProfile, profile_for_name
from gmner.programs.retrying import ServedLM as ServedLM
from gmner.signatures.errors import ModelError

_KEY = "OPENAI_API_KEY"
_PATIENCE = 10.0  # seconds for the list of models


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
