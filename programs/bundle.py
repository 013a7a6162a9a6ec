"""The bundle: a folder with a saved program, which gives the same answers when it is loaded on another machine.

program.json     instructions and demonstrations (DSPy's state, without the LM); never pickle
demos/*.png      images of the demonstrations
adapter/         LoRA adapter (safetensors)
model/           the whole model (safetensors), if it was fully fine-tuned
manifest.json    settings of the program, its base model, and the sha256 of every file
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import dspy

from gmner.data.files.folders import recover_folder
from gmner.programs.bundle_files import check_place as check_place
from gmner.programs.bundle_files import is_bundle as is_bundle
from gmner.programs.bundle_files import load_state as load_state
from gmner.programs.bundle_files import profile_here, restore_state
from gmner.programs.bundle_files import save_bundle as save_bundle
from gmner.programs.gmner import GMNER
from gmner.programs.grec import GREC
from gmner.programs.manifest import (
    Base,
    Manifest,
    read_manifest,
)
from gmner.programs.mner import MNER
from gmner.programs.models.families import profile_on_server
from gmner.programs.models.fingerprint import fingerprint
from gmner.programs.models.hub import folder_or_hub
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.weights import resolve_model
from gmner.programs.program import GroundingProgram
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import BundleError, ModelError
from gmner.signatures.labels import LabelSet

_PROGRAMS: dict[str, type[GroundingProgram]] = {cls.__name__: cls for cls in (GMNER, StagedGMNER, MNER, GREC)}
_ATTENTION = ("eager", "sdpa", "flash_attention_2")


def load(
    folder: str | PathLike[str],
    *,
    lm: dspy.BaseLM | None = None,
    base: str | PathLike[str] | None = None,
    **load_vlm_kwargs: Any,
) -> GroundingProgram:
    """Load a program from a bundle, with its demonstrations and weights.

    Every file is checked against its hash before it is used. No code from the bundle is executed.

    Args:
        folder: The bundle: a folder, or a repository on the Hub (`user/name`).
        lm: The LM to use in place of the bundle's weights; required if the program was saved with a served LM. A served
            LM is assumed to have the bundle's weights and coordinate convention, unless its name belongs to a model
            family with another convention.
        base: Base model (folder or Hub id) to use in place of the recorded one; the adapter is applied to it.
        **load_vlm_kwargs: Passed to `load_vlm`, for instance `device_map`; they override the recorded settings.
            `engine="vllm"`: run it with vLLM. A bundle does not record the engine.

    Raises:
        BundleError: The folder is not a bundle; a file is missing, was modified or cannot be read; the base model is
            missing or is not the recorded one; the weights cannot be loaded; or `lm` is required.
        ModelError: The weights cannot be loaded on `base`; see `load_vlm`.

    Example:
        >>> program = load("mcr-7b")  # doctest: +SKIP
    """
    recover_folder(Path(folder))
    folder = folder_or_hub(folder, "Bundle", BundleError)
    manifest = read_manifest(folder)
    cls = _PROGRAMS.get(manifest.program)
    if cls is None:
        raise BundleError("The bundle has an unknown program", received=manifest.program, accepted=", ".join(_PROGRAMS))
    if lm is None:
        lm = _load_lm(folder, manifest, base, load_vlm_kwargs)
    profile = manifest.profile
    if profile is None and manifest.weights is not None and profile_here(lm) is None:
        profile = profile_on_server(lm.model, manifest.weights)
    program = cls(lm, labels=LabelSet(tuple(manifest.labels)), profile=profile, limits=manifest.limits)
    program.scores = manifest.scores
    restore_state(program, folder, manifest)
    return program


def _load_lm(folder: Path, manifest: Manifest, base: str | PathLike[str] | None, options: dict[str, Any]) -> dspy.LM:
    recorded, settings = manifest.base, manifest.lm
    if recorded.kind == "served" and base is None:
        remedy = f'Pass an LM: load("{folder}", lm=dspy.LM("{recorded.model}", ...))'
        raise BundleError("The program was saved with a served LM", received=recorded.model, remedy=remedy)
    if base is not None:
        model: dict[str, Any] = {"model": base}
    else:
        model = _recorded_model(folder, recorded)
    saved: dict[str, Any] = {
        "name": settings.name,
        "cache": settings.cache,
        "dtype": settings.dtype,
        "thinking": settings.thinking,
    }
    if options.get("engine") != "vllm":
        _check_arguments(settings.model_kwargs, options)
        saved.update(max_batch=settings.max_batch, backend=settings.backend, **settings.model_kwargs)
    if settings.thinking_tokens is not None and options.get("thinking", settings.thinking):
        saved["thinking_tokens"] = settings.thinking_tokens
    adapter = {"adapter": folder / "adapter"} if manifest.adapter else {}
    if base is None and manifest.weights is not None:
        saved["profile"] = manifest.weights
    try:
        lm = load_vlm(**{**model, **adapter, **saved, **options})
    except ModelError as error:
        if base is not None:
            raise
        fact = "The model of the bundle cannot be loaded"
        raise BundleError(fact, received=str(folder), remedy=str(error)) from error
    lm.kwargs.update({name: value for name, value in settings.sampling.items() if name not in options})
    return lm


def _recorded_model(folder: Path, base: Base) -> dict[str, Any]:
    """Arguments of `load_vlm` for the recorded base model, after checking that it is unchanged."""
    model = str(folder / "model") if base.kind == "bundled" else base.model
    try:
        actual = fingerprint(resolve_model(model, base.revision))
    except ModelError as error:
        raise BundleError(
            "The base model of the bundle was not found", received=model, remedy=f"{error} Download it, or pass base="
        ) from error
    if actual != base.fingerprint:
        raise BundleError(
            "The base model is not the one that the bundle was saved with",
            received=actual,
            accepted=str(base.fingerprint),
            remedy="Pass base= if the change is intended",
        )
    return {"model": model, "revision": base.revision}


def _check_arguments(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse recorded model arguments that the caller must pass: some make transformers download code."""
    for name, value in recorded.items():
        if name not in given and not (name == "attn_implementation" and value in _ATTENTION):
            raise BundleError(
                "The bundle records a model argument that is not applied without your consent",
                received={name: value},
                remedy=f"Pass it if you trust the bundle: load(..., {name}=...)",
            )
