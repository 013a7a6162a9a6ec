"""`load_vlm`: a local vision-language model as a `dspy.LM`."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

import dspy

from gmner.programs.engine.vlm_engine import THINKING_TOKENS, AsyncVLMEngine, VLMEngine
from gmner.programs.models.families import ModelProfile, ProfileLike, known_family, profile_data
from gmner.programs.models.families.profile import stored_profile
from gmner.programs.models.probe.probing import PROBE, profile_by_probe
from gmner.programs.models.weights import ModelSource, Weights, config_of, load_weights, resolve_model
from gmner.programs.named_lm import NamedLM
from gmner.signatures.errors import InputError, ModelError

_UNTOLD = ModelProfile().as_data()


def load_vlm(
    model: str | PathLike[str] | None = None,
    *,
    adapter: str | PathLike[str] | None = None,
    temperature: float = 0.0,
    max_batch: int = 16,
    backend: str = "llguidance",
    name: str | None = None,
    cache: bool = True,
    **loading: Any,
) -> dspy.LM:
    """Load a vision-language model on this machine, with constrained decoding by Outlines.

    Only safetensors are loaded, and code in a checkpoint is never executed. The model string of the LM is
    `local/<name>@<fingerprint>`, so DSPy's cache never returns answers of other weights.

    Args:
        model: A local folder or a Hub id; None: the small model embedded in this package.
        adapter: The folder or the Hub id of a LoRA adapter, which is merged into the weights in memory.
        temperature: Sampling temperature; 0: greedy.
        max_batch: Largest number of calls in a batch.
        backend: The back end of Outlines; only `llguidance` enforces every part of the schemas.
        name: The model's name in the model string; None: the folder's name.
        cache: Whether DSPy may answer from its cache.
        **loading: How the weights are loaded, with the names of `from_pretrained`. `revision`: branch, tag or commit on
            the Hub. `dtype`: a torch dtype by name; `auto`, the default: the checkpoint's own, or float32 for small
            models on the CPU. `device_map`: where to place the weights; None, the default: on all GPUs (under
            `accelerate launch` or `torchrun`, on the GPU of the process), or on the CPU if there is none. `profile`:
            how the model writes boxes, if its family is unknown or it was trained otherwise: a `ModelProfile`, JSON
            data as in `gmner.json` (see docs/models.md), or a file with them; "probe": find it out, see `gmner.probe`.
            `thinking`: True: a thinking model thinks before its answer; False, the default: it answers at once.
            `thinking_tokens`: tokens of thinking after which it is closed and the answer follows; 2048 by default.
            Other arguments are passed on, for example `attn_implementation="sdpa"`.

    Returns:
        An LM whose `engine` is a `VLMEngine`.

    Raises:
        ModelError: The model does not exist, has no weights, is not a vision-language model, or does not match the
            adapter; its family is unknown and there is no profile; or it cannot think and `thinking` is True.
        InputError: `profile` is "probe", and the convention of the model cannot be told; or `thinking_tokens` is given
            without `thinking=True`.

    Example:
        >>> lm = load_vlm()  # doctest: +SKIP
        >>> lm.engine.profile.box_format  # doctest: +SKIP
    """
    profile: ProfileLike | None = loading.pop("profile", None)
    thinking, thinking_tokens = _thinking(loading.pop("thinking", False), loading.pop("thinking_tokens", None))
    source = ModelSource(
        None if model is None else str(model),
        None if adapter is None else str(adapter),
        revision=loading.pop("revision", None),
        dtype=loading.pop("dtype", "auto"),
        device_map=loading.pop("device_map", None),
        profile=None if profile is None or profile == PROBE else profile_data(profile),
        thinking=thinking,
        model_kwargs=loading,
    )
    weights = load_weights(source) if profile != PROBE else _probed(source, max_batch=max_batch, backend=backend)
    engine = VLMEngine(weights, max_batch=max_batch, backend=backend, thinking_tokens=thinking_tokens)
    title = name or ("embedded" if model is None else engine.path.name)
    mode = f"+thinking{thinking_tokens}" if source.thinking else ""  # another cache of DSPy
    return lm_of(engine, f"{title}@{engine.fingerprint}{mode}", temperature=temperature, cache=cache)


def _thinking(thinking: Any, tokens: Any) -> tuple[bool, Any]:
    """Whether the model thinks, and the largest number of tokens of its thinking."""
    if type(thinking) is not bool:
        raise ModelError("thinking must be True or False", received=thinking)
    if tokens is not None and not thinking:
        remedy = "Add thinking=True, or leave thinking_tokens out"
        raise InputError("thinking_tokens requires thinking=True", received=tokens, remedy=remedy)
    return thinking, THINKING_TOKENS if tokens is None else tokens


def load_for_probe(
    model: str | PathLike[str] | None = None, *, profile: ProfileLike | None = None, **settings: Any
) -> tuple[dspy.LM, ModelProfile | None]:
    """Load a model for `gmner.probe`, even if its family is unknown or refused.

    Args:
        model: See `load_vlm`.
        profile: The profile in force; None: that of the model's folder or family.
        **settings: See `load_vlm`.

    Returns:
        The LM, and the profile in force; None: there is none.

    Raises:
        ModelError: See `load_vlm`.
    """
    told = profile is not None or _told(None if model is None else str(model), settings.get("revision"))
    lm = load_vlm(model, profile=profile if told else _UNTOLD, **settings)
    return lm, lm.engine.profile if told else None


def _told(model: str | None, revision: str | None) -> bool:
    """Whether the folder or the family of a model says how it writes boxes."""
    path = resolve_model(model, revision)
    family = known_family(config_of(path).model_type)
    return (family is not None and not family.refused) or stored_profile(path, None) is not None


def _probed(source: ModelSource, **engine: Any) -> Weights:
    """Weights with the profile that a probe finds."""
    told = _told(source.model, source.revision)
    weights = load_weights(source if told else replace(source, profile=_UNTOLD))
    probing = VLMEngine(weights, **engine)
    try:
        found = profile_by_probe(lm_of(probing, f"probed@{probing.fingerprint}"), weights.profile if told else None)
    finally:
        probing.close()
    return replace(weights, profile=found, source=replace(source, profile=found.as_data()))


def lm_of(engine: VLMEngine, title: str, *, temperature: float = 0.0, cache: bool = True) -> dspy.LM:
    """Wrap an engine in a `dspy.LM`.

    Args:
        engine: The engine. The LM does not close it.
        title: The model string is `local/<title>`, which is part of the key of DSPy's cache.
        temperature: Sampling temperature; 0: greedy.
        cache: Whether DSPy may answer from its cache.
    """
    return NamedLM(
        f"local/{title}",
        engine=engine,
        async_engine=AsyncVLMEngine(engine),
        temperature=temperature,
        max_tokens=None,
        cache=cache,
    )
