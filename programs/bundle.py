"""The bundle: a program as a folder that another machine loads and that answers there as it did here.

program.json     instructions and demonstrations (DSPy's state), no LM, never pickle
demos/*.png      the pictures of demonstrations
adapter/         the LoRA adapter, safetensors
model/           the whole model, safetensors, where it was trained in full
manifest.json    what the program is, its base model, and the sha256 of every file
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import dspy

from gmner.data.files.atomic import whole_folder
from gmner.data.files.folders import recover_folder
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.gmner import GMNER
from gmner.programs.manifest import (
    MANIFEST_FILE,
    SAMPLING,
    Base,
    Manifest,
    Sampling,
    Settings,
    hash_files,
    read_manifest,
)
from gmner.programs.models.families import ModelProfile, Profiled, profile_on_server
from gmner.programs.models.fingerprint import fingerprint
from gmner.programs.models.hub import folder_or_hub
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.weights import EMBEDDED, resolve_model
from gmner.programs.program import GroundingProgram
from gmner.programs.recorded import named_in, recorded_json
from gmner.programs.staged import StagedGMNER
from gmner.programs.state import dump_program, restore_program
from gmner.signatures.errors import BundleError, ModelError
from gmner.signatures.labels import LabelSet

COPIED_BELOW = 200 * 2**20
"""A model in a local folder is copied into the bundle when it has fewer bytes; of a larger one the path is kept."""

STATE_FILE = "program.json"
_PROGRAMS: dict[str, type[GroundingProgram]] = {cls.__name__: cls for cls in (GMNER, StagedGMNER)}
_LIBRARIES = ("gmner", "dspy", "transformers", "torch", "outlines", "peft", "llguidance")
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
_ATTENTION = ("eager", "sdpa", "flash_attention_2")


def save_bundle(
    program: GroundingProgram, folder: str | PathLike[str], *, scores: Mapping[str, Any] | None = None
) -> Path:
    """Write a program as a bundle; the folder appears whole or not at all.

    The embedded model and a model of the hub are only named, by revision and fingerprint. A model in another local
    folder (one that was trained in full, or a checkpoint of one's own) is copied below `COPIED_BELOW` bytes; above, its
    path is named. An adapter is always copied. `image_root` is of this machine and not saved.

    Args:
        program: A `GMNER` or `StagedGMNER` with one LM.
        folder: A folder that does not exist yet, is empty, or holds a bundle, which is replaced.
        scores: JSON data to keep with the program; None: the program's own `scores`.

    Returns:
        The folder.

    Raises:
        BundleError: Another class of program, several LMs, data that cannot be saved, or a folder with other things.
        ModelError: The program has no LM.
    """
    folder = Path(folder)
    if type(program) not in _PROGRAMS.values():
        raise BundleError("Only these programs can be saved", received=type(program), accepted=", ".join(_PROGRAMS))
    if "forward" in vars(program):
        remedy = "Save the program that it was made from, and compile it again after loading"
        raise BundleError("The calls of a program were replaced, as by dspy.KNNFewShot", remedy=remedy)
    lm = _only_lm(program)
    check_place(folder)
    with whole_folder(folder) as new:
        base, adapter = _write_weights(lm, new)
        _write_state(program, new)
        Manifest(
            program=type(program).__name__,
            base=base,
            adapter=adapter,
            lm=_settings(lm),
            box_format=program.adapter().profile.box_format,
            profile=program.profile,
            weights=_profile_here(lm),
            labels=list(program.labels.types),
            limits=program.limits,
            versions={name: version(name) for name in _LIBRARIES},
            scores=_json(program.scores if scores is None else scores),
            files=hash_files(new),
        ).write(new)
    return folder


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
    if profile is None and manifest.weights is not None and _profile_here(lm) is None:
        profile = profile_on_server(lm.model, manifest.weights)
    program = cls(lm, labels=LabelSet(tuple(manifest.labels)), profile=profile, limits=manifest.limits)
    program.scores = manifest.scores
    _restore(program, folder, manifest)
    return program


def _profile_here(lm: dspy.BaseLM) -> ModelProfile | None:
    """The profile of weights that run in this process; None: they are served."""
    engine = getattr(lm, "engine", None)
    return engine.profile if isinstance(engine, Profiled) else None


def load_state(program: GroundingProgram, folder: str | PathLike[str]) -> None:
    """Take instructions and demonstrations of a bundle over into a program of the same class, whose LM stays.

    Raises:
        BundleError: See `load`, or a bundle of another class of programs.
    """
    manifest = read_manifest(Path(folder))
    if manifest.program != type(program).__name__:
        raise BundleError("A bundle holds another program", received=manifest.program, accepted=type(program).__name__)
    _restore(program, Path(folder), manifest)


def is_bundle(folder: str | PathLike[str]) -> bool:
    """Whether a folder looks like a bundle."""
    try:
        recover_folder(Path(folder))
        return (Path(folder) / MANIFEST_FILE).is_file()
    except OSError:  # the path is too long, for instance
        return False


def check_place(folder: str | PathLike[str]) -> None:
    """Whether a bundle may be written here, to be asked before the work that makes it.

    Raises:
        BundleError: Something else lies here.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and (is_bundle(folder) or not any(folder.iterdir()))):
        raise BundleError(
            "The bundle would overwrite something else",
            received=str(folder),
            accepted="a folder that does not exist, is empty or contains a bundle",
        )


def _only_lm(program: GroundingProgram) -> dspy.BaseLM:
    models = {predict.lm.model for predict in program.predictors() if predict.lm is not None}
    if len(models) > 1:
        raise BundleError("A program with several LMs cannot be saved", received=sorted(models), remedy="Use set_lm")
    return program.model


def _json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError("Scores are not JSON data", received=value, remedy="Pass evaluation.to_dict()") from error


def _settings(lm: dspy.BaseLM) -> Settings:
    sampling: dict[Sampling, Any] = {name: lm.kwargs[name] for name in SAMPLING if name in lm.kwargs}
    engine = getattr(lm, "engine", None)
    if not isinstance(engine, VLMEngine):
        return Settings(sampling=sampling)
    state = engine.dump_state()
    kept = {name: state[name] for name in ("dtype", "max_batch", "backend", "model_kwargs")}
    return Settings(name=lm.model.removeprefix("local/").split("@")[0], cache=lm.cache, sampling=sampling, **kept)


def _write_state(program: GroundingProgram, folder: Path) -> None:
    def keep(png: bytes) -> str:
        name = f"demos/{hashlib.sha256(png).hexdigest()[:16]}.png"
        (folder / "demos").mkdir(exist_ok=True)
        (folder / name).write_bytes(png)
        return name

    state = dump_program(program, keep)
    text = json.dumps(state, ensure_ascii=False, indent=1) + "\n"
    try:
        (folder / STATE_FILE).write_text(text, encoding="utf-8")
    except UnicodeEncodeError as error:
        remedy = f"Leave it out: {error}"
        raise BundleError("A demonstration or an instruction is not Unicode", remedy=remedy) from error


def _restore(program: GroundingProgram, folder: Path, manifest: Manifest) -> None:
    def find(name: str) -> Path:
        if name not in manifest.files:
            raise BundleError("A demonstration's picture is not in the bundle", received=name)
        return (folder / name).resolve()

    if STATE_FILE not in manifest.files:
        raise BundleError(f"A bundle has no {STATE_FILE}", received=str(folder))
    with named_in(folder / STATE_FILE):
        restore_program(program, recorded_json(folder / STATE_FILE, "the state of a program"), find)


def _write_weights(lm: dspy.BaseLM, folder: Path) -> tuple[Base, bool]:
    """Copy what must travel; where the base is, and whether there is an adapter."""
    engine = getattr(lm, "engine", None)
    if not isinstance(engine, VLMEngine):
        return Base(kind="served", model=lm.model), False
    if engine.adapter_path is not None:
        _write_adapter(engine.adapter_path, folder / "adapter")
    return _base(engine, folder), engine.adapter_path is not None


def _base(engine: VLMEngine, folder: Path) -> Base:
    path, named, source = engine.path, fingerprint(engine.path), engine.weights.source
    if path == EMBEDDED.resolve():
        return Base(kind="embedded", fingerprint=named)
    if source.model is not None and not Path(source.model).expanduser().exists():
        # A folder of the hub's cache is called by the commit it holds.
        commit = path.name if path.parent.name == "snapshots" else source.revision
        return Base(kind="hub", model=source.model, revision=commit, fingerprint=named)
    files = [file for pattern in _MODEL_FILES for file in path.glob(pattern)]
    if sum(file.stat().st_size for file in files) >= COPIED_BELOW:
        return Base(kind="path", model=str(path), fingerprint=named)
    (folder / "model").mkdir()
    for file in files:
        shutil.copyfile(file, folder / "model" / file.name)
    return Base(kind="bundled", fingerprint=named)


def _write_adapter(source: Path, folder: Path) -> None:
    """Copy an adapter, but not the path that its base had on this machine."""
    folder.mkdir()
    shutil.copyfile(source / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    config = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    text = json.dumps({**config, "base_model_name_or_path": None}, indent=2)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


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
