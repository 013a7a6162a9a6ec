"""The files of a bundle: a program written into a folder, and instructions and demonstrations read back from it."""

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
"""A model in a local folder is copied into the bundle when it has fewer bytes; of a larger one the path is kept."""

STATE_FILE = "program.json"
PROGRAMS = ("GMNER", "StagedGMNER")
"""The classes of programs that a bundle can hold, by their `bundle_name`; a subclass is another program."""

_LIBRARIES = ("gmner", "dspy", "transformers", "torch", "outlines", "peft", "llguidance")
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


def save_bundle(
    program: AnsweringProgram, folder: str | PathLike[str], *, scores: Mapping[str, Any] | None = None
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
    if vars(type(program)).get("bundle_name") not in PROGRAMS:
        raise BundleError("Only these programs can be saved", received=type(program), accepted=", ".join(PROGRAMS))
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
            weights=profile_here(lm),
            labels=list(program.labels.types),
            limits=program.limits,
            versions={name: version(name) for name in _LIBRARIES},
            scores=_json(program.scores if scores is None else scores),
            files=hash_files(new),
        ).write(new)
    return folder


def profile_here(lm: dspy.BaseLM) -> ModelProfile | None:
    """The profile of weights that run in this process; None: they are served."""
    engine = profiled_engine(lm)
    return None if engine is None else engine.profile


def load_state(program: AnsweringProgram, folder: str | PathLike[str]) -> None:
    """Take instructions and demonstrations of a bundle over into a program of the same class, whose LM stays.

    Raises:
        BundleError: See `load`, or a bundle of another class of programs.
    """
    manifest = read_manifest(Path(folder))
    if manifest.program != type(program).__name__:
        raise BundleError("A bundle holds another program", received=manifest.program, accepted=type(program).__name__)
    restore_state(program, Path(folder), manifest)


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


def _only_lm(program: AnsweringProgram) -> dspy.BaseLM:
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
    engine = engine_of(lm, VLMEngine)
    if engine is None:
        return Settings(sampling=sampling)
    state = engine.dump_state()
    kept = {name: state[name] for name in ("dtype", "max_batch", "backend", "model_kwargs")}
    return Settings(name=lm.model.removeprefix("local/").split("@")[0], cache=lm.cache, sampling=sampling, **kept)


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
        remedy = f"Leave it out: {error}"
        raise BundleError("A demonstration or an instruction is not Unicode", remedy=remedy) from error


def restore_state(program: AnsweringProgram, folder: Path, manifest: Manifest) -> None:
    """Put the instructions and demonstrations of a bundle into a program, whose LMs stay.

    Args:
        program: A program of the class that was saved.
        folder: The bundle.
        manifest: Its manifest, which was checked.

    Raises:
        BundleError: The state is missing, damaged, or of another class of programs.
    """

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
    engine = engine_of(lm, VLMEngine)
    if engine is None:
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
