"""`load_vlm`: a local vision-language model as a `dspy.LM`."""

from __future__ import annotations

from os import PathLike
from typing import Any

import dspy

from gmner.programs.engine.vlm_engine import AsyncVLMEngine, VLMEngine
from gmner.programs.models.weights import ModelSource, load_weights


def load_vlm(
    model: str | PathLike[str] | None = None,
    *,
    adapter: str | PathLike[str] | None = None,
    revision: str | None = None,
    dtype: str = "auto",
    device_map: Any = None,
    temperature: float = 0.0,
    max_batch: int = 16,
    backend: str = "llguidance",
    name: str | None = None,
    cache: bool = True,
    **model_kwargs: Any,
) -> dspy.LM:
    """Load a vision-language model to run on this machine, its answers enforced by Outlines.

    Safetensors only, and no code from a checkpoint is ever run. The model string of the LM is
    `local/<name>@<fingerprint>`, so DSPy's cache never answers with the weights of yesterday.

    Args:
        model: A local folder, a hub id, or None: the small model that comes with this package.
        adapter: A folder with a LoRA adapter to put on top, or its hub id; it is merged into the weights in memory.
        revision: Branch, tag or commit on the hub.
        dtype: A torch dtype by name; `auto` is the checkpoint's own, and float32 for small models on a processor.
        device_map: Where the weights go; None: every GPU there is (in a process of a launch its own),
            else the processor.
        temperature: 0: greedy.
        max_batch: Most calls of one batch.
        backend: The back end of Outlines; only `llguidance` enforces every part of the schemas.
        name: What the model is called in the model string; None: the folder's name.
        cache: Whether DSPy may answer from its cache.
        **model_kwargs: Passed to `from_pretrained`, for instance `attn_implementation="sdpa"`.

    Returns:
        An LM whose `engine` is a `VLMEngine`.

    Raises:
        ModelError: No such model, no weights, not a vision-language model, or an adapter that does not fit.

    Example:
        >>> lm = load_vlm()  # doctest: +SKIP
        >>> lm.engine.profile.box_format  # doctest: +SKIP
    """
    source = ModelSource(
        None if model is None else str(model),
        None if adapter is None else str(adapter),
        revision,
        dtype,
        device_map,
        model_kwargs,
    )
    engine = VLMEngine(load_weights(source), max_batch=max_batch, backend=backend)
    title = name or ("embedded" if model is None else engine.path.name)
    return lm_of(engine, f"{title}@{engine.fingerprint}", temperature=temperature, cache=cache)


def lm_of(engine: VLMEngine, title: str, *, temperature: float = 0.0, cache: bool = True) -> dspy.LM:
    """An engine as an LM.

    Args:
        engine: The engine, which the LM does not own.
        title: The model string is `local/<title>`; DSPy's cache knows the LM by it.
        temperature: 0: greedy.
        cache: Whether DSPy may answer from its cache.
    """
    return dspy.LM(
        f"local/{title}",
        engine=engine,
        async_engine=AsyncVLMEngine(engine),
        temperature=temperature,
        max_tokens=None,
        cache=cache,
    )
