"""`load_vlm`: a local vision-language model as a `dspy.LM`."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

import dspy

from gmner.programs.engine.lm_engine import THINKING_TOKENS, AsyncLMEngine, LMEngine
from gmner.programs.engine.vllm_engine import MOST, AsyncVLLMEngine, VLLMEngine, check_options
from gmner.programs.engine.vlm_engine import AsyncVLMEngine, VLMEngine
from gmner.programs.models.checkpoint import load_checkpoint
from gmner.programs.models.families import ModelProfile, ProfileLike, known_family, profile_data
from gmner.programs.models.families.profile import stored_profile
from gmner.programs.models.probe.probing import PROBE, profile_by_probe
from gmner.programs.models.weights import ModelSource, Weights, config_of, load_weights, resolve_model
from gmner.programs.named_lm import NamedLM
from gmner.programs.seams.vllm_seams import check_installed
from gmner.signatures.errors import InputError, ModelError

ENGINES = ("transformers", "vllm")
"""The values of `engine`."""

_OF_EVERY_ENGINE = ("profile", "thinking", "thinking_tokens", "revision", "dtype")
_BACKEND, _MAX_BATCH = "llguidance", 16
_UNTOLD = ModelProfile().as_data()


def load_vlm(
    model: str | PathLike[str] | None = None,
    *,
    adapter: str | PathLike[str] | None = None,
    engine: str = "transformers",
    temperature: float = 0.0,
    max_batch: int | None = None,
    name: str | None = None,
    cache: bool = True,
    **loading: Any,
) -> dspy.LM:
    """Load a vision-language model on this machine, with constrained decoding.

    Only safetensors are loaded, and code in a checkpoint is never executed. The model string of the LM is
    `local/<name>@<fingerprint>`, so DSPy's cache never returns answers of other weights.

    Args:
        model: A local folder or a Hub id; None: the small model embedded in this package.
        adapter: The folder or the Hub id of a LoRA adapter, which is merged into the weights in memory; vLLM applies it
            without merging.
        engine: `transformers`: our own decoding loop on transformers, with Outlines. `vllm`: vLLM in this process, for
            many posts on a GPU (`pip install "gmner[vllm]"`); its model cannot be compiled.
        temperature: Sampling temperature; 0: greedy.
        max_batch: Largest number of calls in a batch; None: 16, or 256 with vLLM.
        name: The model's name in the model string; None: the folder's name.
        cache: Whether DSPy may answer from its cache.
        **loading: How the weights are loaded, with the names of `from_pretrained`. `revision`: branch, tag or commit on
            the Hub. `dtype`: a torch dtype by name; `auto`, the default: the checkpoint's own, or on the CPU float32
            for small models and on processors without bfloat16 instructions. `device_map`: where to place the weights;
            None, the default: on all GPUs (under `accelerate launch` or `torchrun`, on the GPU of the process), or on
            the CPU if there is none. `profile`: how the model writes boxes, if its family is unknown or it was trained
            otherwise: a `ModelProfile`, JSON data as in `gmner.json` (see docs/models.md), or a file with them;
            "probe": find it out, see `gmner.probe`. `thinking`: True: a thinking model thinks before its answer; False,
            the default: it answers at once. `thinking_tokens`: tokens of thinking after which it is closed and the
            answer follows; 2048 by default. `backend`: the back end of Outlines; only `llguidance`, the default,
            enforces every part of the schemas. Other arguments are passed on, for example `attn_implementation="sdpa"`.
            With `engine="vllm"`, `device_map`, `backend` and `profile="probe"` are refused, and other arguments are
            those of `vllm.LLM`: `gpu_memory_utilization`, `max_model_len`, `tensor_parallel_size`, `quantization` and
            others, see `gmner.programs.engine.vllm_engine.OPTIONS`.

    Returns:
        An LM whose `engine` is a `VLMEngine` or a `VLLMEngine`.

    Raises:
        ModelError: The model does not exist, has no weights, is not a vision-language model, or does not match the
            adapter; its family is unknown and there is no profile; it cannot think and `thinking` is True; vLLM is not
            installed, finds no device, or cannot use the model or the adapter; or an argument belongs to another
            engine.
        InputError: `profile` is "probe", and the convention of the model cannot be told; or `thinking_tokens` is given
            without `thinking=True`.

    Example:
        >>> lm = load_vlm()  # doctest: +SKIP
        >>> lm.engine.profile.box_format  # doctest: +SKIP
    """
    if engine not in ENGINES:
        raise ModelError("Unknown engine", received=engine, accepted=", ".join(ENGINES))
    vllm = engine == "vllm"
    if vllm:
        _check_for_vllm(loading)
    backend = loading.pop("backend", _BACKEND)
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
        model_kwargs={} if vllm else loading,
    )
    most = (MOST if vllm else _MAX_BATCH) if max_batch is None else max_batch
    running: LMEngine[Any]
    if vllm:
        running = VLLMEngine(load_checkpoint(source), max_batch=most, thinking_tokens=thinking_tokens, options=loading)
    else:
        weights = load_weights(source) if profile != PROBE else _probed(source, max_batch=most, backend=backend)
        running = VLMEngine(weights, max_batch=most, backend=backend, thinking_tokens=thinking_tokens)
    title = name or ("embedded" if model is None else running.path.name)
    # Other answers need another cache of DSPy.
    mode = ("+vllm" if vllm else "") + (f"+thinking{thinking_tokens}" if source.thinking else "")
    return lm_of(running, f"{title}@{running.fingerprint}{mode}", temperature=temperature, cache=cache)


def _check_for_vllm(loading: dict[str, Any]) -> None:
    """Refuse what only our own engine has, before anything is loaded.

    Raises:
        ModelError: An argument is not accepted, or vLLM is not installed or finds no device.
    """
    if loading.get("profile") == PROBE:
        remedy = "Run `gmner probe MODEL --write` first, which needs the default engine"
        raise ModelError("engine='vllm' does not accept profile='probe'", remedy=remedy)
    options = {name: value for name, value in loading.items() if name not in _OF_EVERY_ENGINE}
    check_options(options, loading.get("dtype", "auto"))
    check_installed()


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


def lm_of(engine: LMEngine[Any], title: str, *, temperature: float = 0.0, cache: bool = True) -> dspy.LM:
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
        async_engine=_asynchronous(engine),
        temperature=temperature,
        max_tokens=None,
        cache=cache,
    )


def _asynchronous(engine: LMEngine[Any]) -> AsyncLMEngine:
    return AsyncVLLMEngine(engine) if isinstance(engine, VLLMEngine) else AsyncVLMEngine(engine)
