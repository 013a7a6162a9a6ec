"""The bundle: a program as a folder that another machine loads and that answers there as it did here.

program.json     instructions and demonstrations (DSPy's state), no LM, never pickle
demos/*.png      the pictures of demonstrations
adapter/         the LoRA adapter, safetensors
model/           the whole model, safetensors, where it was trained in full
manifest.json    what the program is, its base model, and the sha256 of every file
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
from gmner.programs.manifest import (
    Base,
    Manifest,
    read_manifest,
)
from gmner.programs.models.families import profile_on_server
from gmner.programs.models.fingerprint import fingerprint
from gmner.programs.models.hub import folder_or_hub
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.weights import resolve_model
from gmner.programs.program import GroundingProgram
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import BundleError, ModelError
from gmner.signatures.labels import LabelSet

_PROGRAMS: dict[str, type[GroundingProgram]] = {cls.__name__: cls for cls in (GMNER, StagedGMNER)}
_ATTENTION = ("eager", "sdpa", "flash_attention_2")


def load(
    folder: str | PathLike[str],
    *,
    lm: dspy.BaseLM | None = None,
    base: str | PathLike[str] | None = None,
    **load_vlm_kwargs: Any,
) -> GroundingProgram:
    """Read a bundle: the program with its demonstrations, on its weights.

    Every file is checked against its hash before anything of it is used; no code of the bundle is ever run.

    Args:
        folder: The bundle: a folder, or a repository of the hub (`user/name`).
        lm: The LM to run on, instead of the bundle's weights; needed where the program was saved with a served LM. A
            served one is taken for these weights, with their box frame, unless its name says a family of another frame.
        base: Another base model (folder or hub id), instead of the recorded one; the adapter is put on top.
        **load_vlm_kwargs: See `load_vlm`; they take the place of the recorded settings, for instance `device_map`.

    Raises:
        BundleError: No bundle, a file that is missing, was changed or cannot be read, a base model that is not there or
            is not the recorded one, weights that cannot be loaded, or a served LM that was not given.
        ModelError: Weights that cannot be loaded on another `base`; see `load_vlm`.

    Example:
        >>> program = load("mcr-7b")  # doctest: +SKIP
    """
    recover_folder(Path(folder))
    folder = folder_or_hub(folder, "Bundle", BundleError)
    manifest = read_manifest(folder)
    cls = _PROGRAMS.get(manifest.program)
    if cls is None:
        raise BundleError("A bundle holds an unknown program", received=manifest.program, accepted=", ".join(_PROGRAMS))
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
        remedy = f'Pass one: load("{folder}", lm=dspy.LM("{recorded.model}", ...))'
        raise BundleError("The program was saved with a served LM", received=recorded.model, remedy=remedy)
    if base is not None:
        where: dict[str, Any] = {"model": base}
    else:
        where = _recorded_model(folder, recorded)
    _check_arguments(settings.model_kwargs, options)
    kept: dict[str, Any] = {
        "name": settings.name,
        "cache": settings.cache,
        "dtype": settings.dtype,
        "max_batch": settings.max_batch,
        "backend": settings.backend,
        **settings.model_kwargs,
    }
    adapter = {"adapter": folder / "adapter"} if manifest.adapter else {}
    try:
        lm = load_vlm(**{**where, **adapter, **kept, **options})
    except ModelError as error:
        if base is not None:
            raise
        raise BundleError("The model of a bundle cannot be loaded", received=str(folder), remedy=str(error)) from error
    lm.kwargs.update({name: value for name, value in settings.sampling.items() if name not in options})
    return lm


def _recorded_model(folder: Path, base: Base) -> dict[str, Any]:
    """Arguments of `load_vlm` for the recorded base, which is there and unchanged."""
    model = str(folder / "model") if base.kind == "bundled" else base.model
    try:
        found = fingerprint(resolve_model(model, base.revision))
    except ModelError as error:
        raise BundleError(
            "The base model of a bundle is not there", received=model, remedy=f"{error} Or pass base="
        ) from error
    if found != base.fingerprint:
        raise BundleError(
            "The base model is not the one that the bundle was made on",
            received=found,
            accepted=str(base.fingerprint),
            remedy="Pass base= if the change is meant",
        )
    return {"model": model, "revision": base.revision}


def _check_arguments(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse model arguments that a bundle must not set on its own: some make transformers fetch code."""
    for name, value in recorded.items():
        if name not in given and not (name == "attn_implementation" and value in _ATTENTION):
            raise BundleError(
                "A bundle's model was loaded with an argument that a bundle does not set",
                received={name: value},
                remedy=f"Pass it yourself if you trust the bundle: load(..., {name}=...)",
            )
