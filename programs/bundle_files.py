"""The files of a bundle: saves a program to a folder, and restores its instructions and demonstrations from it."""

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
from gmner.programs.answering import AnsweringProgram
from gmner.programs.engine.lm_engine import LMEngine
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.local_engine import engine_of, profiled_engine
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
from gmner.programs.models.families import ModelProfile
from gmner.programs.models.fingerprint import fingerprint
from gmner.programs.models.weights import EMBEDDED
from gmner.programs.recorded import named_in, recorded_json
from gmner.programs.state import dump_program, restore_program
from gmner.signatures.errors import BundleError

COPIED_BELOW = 200 * 2**20
"""A model in a local folder is copied into the bundle if it has fewer bytes; for a larger one, its path is stored."""

STATE_FILE = "program.json"
PROGRAMS = ("GMNER", "StagedGMNER", "MNER", "GREC")
"""The program classes that can be saved, by `bundle_name`; their subclasses cannot."""

_LIBRARIES = ("gmner", "dspy", "transformers", "torch", "outlines", "peft", "llguidance")
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


def save_bundle(
    program: AnsweringProgram, folder: str | PathLike[str], *, scores: Mapping[str, Any] | None = None
) -> Path:
    """Save a program as a bundle; the folder is written atomically.

    The embedded model and models from the Hub are stored by name, revision and fingerprint. A model in another local
    folder (a fully fine-tuned model or your own checkpoint) is copied if it is smaller than `COPIED_BELOW` bytes;
    otherwise its path is stored. An adapter is always copied. `image_root` is not saved.

    Args:
        program: A `GMNER` or `StagedGMNER` with one LM.
        folder: A folder that does not exist, is empty, or contains a bundle, which is replaced.
        scores: JSON data to save with the program; None: the program's own `scores`.

    Returns:
        The folder.

    Raises:
        BundleError: The class of the program cannot be saved, the program has several LMs or data that is not JSON, or
            the folder contains something else.
        ModelError: The program has no LM.
    """
    folder = Path(folder)
    if vars(type(program)).get("bundle_name") not in PROGRAMS:
        raise BundleError(
            "Programs of this class cannot be saved", received=type(program), accepted=", ".join(PROGRAMS)
        )
    if "forward" in vars(program):
        remedy = "Save the original program, and compile it again after loading"
        fact = "A program whose forward method was replaced, as by dspy.KNNFewShot, cannot be saved"
        raise BundleError(fact, remedy=remedy)
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
            weights=profile_here(lm),
            labels=list(program.labels.types),
            limits=program.limits,
            versions={name: version(name) for name in _LIBRARIES},
            scores=_json(program.scores if scores is None else scores),
            files=hash_files(new),
        ).write(new)
    return folder


def profile_here(lm: dspy.BaseLM) -> ModelProfile | None:
    """The profile of a model that runs in this process; None for a served model."""
    engine = profiled_engine(lm)
    return None if engine is None else engine.profile


def load_state(program: AnsweringProgram, folder: str | PathLike[str]) -> None:
    """Load the instructions and demonstrations of a bundle into a program of the same class, which keeps its LM.

    Raises:
        BundleError: See `load`, or the bundle has a program of another class.
    """
    manifest = read_manifest(Path(folder))
    if manifest.program != type(program).__name__:
        fact = "The bundle has a program of another class"
        raise BundleError(fact, received=manifest.program, accepted=type(program).__name__)
    restore_state(program, Path(folder), manifest)


def is_bundle(folder: str | PathLike[str]) -> bool:
    """Whether a folder looks like a bundle."""
    try:
        recover_folder(Path(folder))
        return (Path(folder) / MANIFEST_FILE).is_file()
    except OSError:  # the path is too long, for instance
        return False


def check_place(folder: str | PathLike[str]) -> None:
    """Check that a bundle may be written here; call it before the work that produces the bundle.

    Raises:
        BundleError: The folder contains something else.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and (is_bundle(folder) or not any(folder.iterdir()))):
        raise BundleError(
            "The bundle would overwrite something else",
            received=str(folder),
            accepted="a folder that does not exist, is empty or contains a bundle",
        )


def _only_lm(program: AnsweringProgram) -> dspy.BaseLM:
    models = {predict.lm.model for predict in program.predictors() if predict.lm is not None}
    if len(models) > 1:
        remedy = "Give all predictors the same LM with set_lm"
        raise BundleError("A program with several LMs cannot be saved", received=sorted(models), remedy=remedy)
    return program.model


def _json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError("scores must be JSON data", received=value, remedy="Pass evaluation.to_dict()") from error


def _settings(lm: dspy.BaseLM) -> Settings:
    sampling: dict[Sampling, Any] = {name: lm.kwargs[name] for name in SAMPLING if name in lm.kwargs}
    engine = engine_of(lm, LMEngine)
    if engine is None:
        return Settings(sampling=sampling)
    state = engine.dump_state()
    # The engine is not part of a bundle: the defaults are those of the transformers engine.
    own = ("max_batch", "backend", "model_kwargs") if isinstance(engine, VLMEngine) else ()
    loading = {name: state[name] for name in ("dtype", *own)}
    if state["thinking"]:
        loading.update(thinking=True, thinking_tokens=state["thinking_tokens"])
    return Settings(name=lm.model.removeprefix("local/").split("@")[0], cache=lm.cache, sampling=sampling, **loading)


def _write_state(program: AnsweringProgram, folder: Path) -> None:
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
        fact = "A demonstration or an instruction contains characters that UTF-8 cannot encode"
        raise BundleError(fact, remedy=f"Remove them: {error}") from error


def restore_state(program: AnsweringProgram, folder: Path, manifest: Manifest) -> None:
    """Restore the instructions and demonstrations of a program, which keeps its LMs.

    Args:
        program: A program of the class that was saved.
        folder: The bundle.
        manifest: Its manifest, already checked.

    Raises:
        BundleError: The state is missing, damaged, or belongs to another class of programs.
    """

    def find(name: str) -> Path:
        if name not in manifest.files:
            raise BundleError("The image of a demonstration is not in the bundle", received=name)
        return (folder / name).resolve()

    if STATE_FILE not in manifest.files:
        raise BundleError(f"The bundle has no {STATE_FILE}", received=str(folder))
    with named_in(folder / STATE_FILE):
        restore_program(program, recorded_json(folder / STATE_FILE, "the state of a program"), find)


def _write_weights(lm: dspy.BaseLM, folder: Path) -> tuple[Base, bool]:
    """Copy the weights that the bundle must contain; returns the base model and whether there is an adapter."""
    engine = engine_of(lm, LMEngine)
    if engine is None:
        return Base(kind="served", model=lm.model), False
    if engine.adapter_path is not None:
        _write_adapter(engine.adapter_path, folder / "adapter")
    return _base(engine, folder), engine.adapter_path is not None


def _base(engine: LMEngine[Any], folder: Path) -> Base:
    path, digest, source = engine.path, fingerprint(engine.path), engine.weights.source
    if path == EMBEDDED.resolve():
        return Base(kind="embedded", fingerprint=digest)
    if source.model is not None and not Path(source.model).expanduser().exists():
        # The Hub's cache names a snapshot folder after its commit.
        commit = path.name if path.parent.name == "snapshots" else source.revision
        return Base(kind="hub", model=source.model, revision=commit, fingerprint=digest)
    files = [file for pattern in _MODEL_FILES for file in path.glob(pattern)]
    if sum(file.stat().st_size for file in files) >= COPIED_BELOW:
        return Base(kind="path", model=str(path), fingerprint=digest)
    (folder / "model").mkdir()
    for file in files:
        shutil.copyfile(file, folder / "model" / file.name)
    return Base(kind="bundled", fingerprint=digest)


def _write_adapter(source: Path, folder: Path) -> None:
    """Copy an adapter without the local path of its base model."""
    folder.mkdir()
    shutil.copyfile(source / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    config = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    text = json.dumps({**config, "base_model_name_or_path": None}, indent=2)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
