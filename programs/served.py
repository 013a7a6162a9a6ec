"""Models on OpenAI-compatible servers: finds a model on a server, and says how it writes boxes."""

from __future__ import annotations

import os
from typing import Any

import dspy

from gmner.programs.models.families import ModelProfile, ProfileLike, Thinking, family_served_as, profile_for_name
from gmner.programs.models.probe.probing import PROBE, profile_by_probe
from gmner.programs.server_lm import ServedLM
from gmner.signatures.errors import ModelError

_KEY = "OPENAI_API_KEY"
_TIMEOUT = 10.0  # seconds for the list of models


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
    (vLLM's `root`). The API key is `api_key`, or else the environment variable OPENAI_API_KEY. DSPy's cache is
    disabled, because a server may serve another model under the same name later.

    Args:
        server: URL of the server, up to the part before `/chat/completions`: `http://localhost:8000/v1`.
        name: Name of the model on the server; None: its only model.
        profile: How the model writes boxes, if its name does not tell, or if the server has other pixel limits than the
            published model: see `load_vlm`. "probe": find it out with about 140 calls, see `gmner.probe`.
        thinking: Whether the model thinks before it answers, which is sent as a variable of its chat template, see
            `template_switch`. None: as the server is set up.
        **settings: Passed to `ServedLM`, for instance `num_retries`, `timeout`, `temperature`, `api_key`.

    Raises:
        ModelError: The server does not respond, does not serve this model, or serves several and no name was given; or
            the family of the model is unknown, and no profile was given.
        InputError: `profile` is "probe", and the convention of the model cannot be told.
        ServerError: `profile` is "probe", and the model fails on every question.

    Example:
        >>> lm, profile = served_lm("http://localhost:8000/v1")  # doctest: +SKIP
        >>> GMNER(lm, profile=profile)  # doctest: +SKIP
    """
    if profile == PROBE:
        lm, known = served_for_probe(server, name, thinking=thinking, **settings)
        return lm, profile_by_probe(lm, known)
    lm, names = served_model(server, name, thinking=thinking, **settings)
    return lm, profile_for_name(names, profile)


def served_for_probe(
    server: str, name: str | None = None, *, profile: ProfileLike | None = None, **settings: Any
) -> tuple[dspy.LM, ModelProfile | None]:
    """Create the LM of a model on a server for `gmner.probe`, even if its family is unknown or refused.

    Args:
        server: See `served_lm`.
        name: See `served_lm`.
        profile: The profile in force; None: that of the model's family.
        **settings: See `served_lm`.

    Returns:
        The LM, and the profile in force; None: there is none.

    Raises:
        ModelError: See `served_lm`.
    """
    lm, names = served_model(server, name, **settings)
    family = family_served_as(names)
    told = profile is not None or (family is not None and not family.refused)
    return lm, profile_for_name(names, profile) if told else None


def served_model(
    server: str, name: str | None = None, *, thinking: bool | None = None, **settings: Any
) -> tuple[dspy.LM, str]:
    """Create the LM of a model on a server, and return its names: the weights that it serves first, then its own.

    Its family does not matter; see `served_lm` for the arguments and errors.
    """
    import openai  # takes long to import, and only this function needs it

    key = settings.get("api_key") or os.environ.get(_KEY) or "none"
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
    told = (getattr(chosen, "root", None), chosen.id, getattr(chosen, "parent", None))
    names = " ".join(dict.fromkeys(filter(None, told)))
    if thinking is not None:
        body, variables = settings.get("extra_body") or {}, "chat_template_kwargs"
        switched = {**body.get(variables, {}), **template_switch(names, on=thinking)}
        settings["extra_body"] = {**body, variables: switched}
    lm = ServedLM(
        f"openai/{chosen.id}", **{"api_base": server, "api_key": key, "max_tokens": None, "cache": False, **settings}
    )
    return lm, names


def template_switch(names: str, *, on: bool) -> dict[str, bool]:
    """The variables of a chat template that switch thinking on or off; vLLM and SGLang take `chat_template_kwargs`.

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
    return {switch: on}
