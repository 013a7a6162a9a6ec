"""The manifest of a bundle: the settings of the program, its weights, and the hash of every file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator

from gmner.data.files.folders import recover_folder
from gmner.programs.models.families import ModelProfile
from gmner.programs.recorded import ADAPTER_FILES, DTYPES, check_adapter_config, recorded_json
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import BundleError, GmnerError
from gmner.signatures.labels import LabelSet
from gmner.signatures.schema import Limits

MANIFEST_FILE = "manifest.json"
FORMAT = 1
"""Version of the format; increased when older versions cannot read a new bundle."""

Sampling = Literal["temperature", "max_tokens", "top_p", "top_k", "seed"]
SAMPLING: tuple[Sampling, ...] = get_args(Sampling)
"""The arguments of an LM that a bundle stores."""

_LARGEST = Limits(reasoning=10**6, entities=10**4)
_AGAIN = "Download the bundle again, or save the program again"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Base(_Part):
    """The base model of a program.

    Attributes:
        kind: `embedded` (the model of this package), `hub`, `path` (a local folder too large to be copied), `bundled`
            (in the bundle's `model/`), or `served` (the model runs on a server).
        model: Hub id, path, or the model string of a served LM; None for `embedded` and `bundled`.
        revision: The commit on the Hub.
        fingerprint: Fingerprint of the weights without the adapter, see `gmner.programs.models.fingerprint`; None for
            `served`.
    """

    kind: Literal["embedded", "hub", "path", "bundled", "served"]
    model: str | None = None
    revision: str | None = None
    fingerprint: str | None = None


class Settings(_Part):
    """Settings of the LM.

    Attributes:
        name: Its name in the model string; None for a served LM.
        cache: Whether DSPy may use its cache.
        sampling: Sampling arguments.
        dtype: See `load_vlm`.
        max_batch: See `load_vlm`.
        backend: See `load_vlm`.
        model_kwargs: See `load_vlm`.
        thinking: See `load_vlm`.
        thinking_tokens: See `load_vlm`; None: its default.
    """

    name: str | None = None
    cache: bool = True
    sampling: dict[Sampling, float | int | None] = {}
    dtype: str = "auto"
    max_batch: Annotated[int, Field(ge=1)] = 16
    backend: str = "llguidance"
    model_kwargs: dict[str, Any] = {}
    thinking: bool = False
    thinking_tokens: Annotated[int, Field(ge=0)] | None = None

    @field_validator("dtype")
    @classmethod
    def _known(cls, dtype: str) -> str:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}")
        return dtype


class Manifest(_Part):
    """The content of `manifest.json`.

    Attributes:
        format: Version of the format.
        program: Name of the program's class.
        base: The base model.
        adapter: Whether `adapter/` contains a LoRA adapter.
        lm: Settings of the LM.
        box_format: Coordinate convention of the model, for information; it is determined again when the bundle is
            loaded.
        profile: The profile that the user set; None: that of the model.
        weights: The profile of the weights, used when they are served; None if the program had a served LM.
        labels: Entity types with descriptions.
        limits: Limits of an answer.
        versions: Libraries and their versions.
        scores: Scores that an optimizer measured, or None.
        files: Path in the bundle -> sha256, for every file except the manifest.
    """

    format: Literal[1] = 1
    program: str
    base: Base
    adapter: bool
    lm: Settings
    box_format: BoxFormat
    profile: ModelProfile | None
    weights: ModelProfile | None = None
    labels: list[tuple[str, str]]
    limits: Limits
    versions: dict[str, str]
    scores: dict[str, Any] | None
    files: dict[str, str]

    @field_validator("labels")
    @classmethod
    def _usable(cls, labels: list[tuple[str, str]]) -> list[tuple[str, str]]:
        LabelSet(tuple(labels))
        return labels

    @field_validator("limits")
    @classmethod
    def _bounded(cls, limits: Limits) -> Limits:
        if limits.reasoning > _LARGEST.reasoning or limits.entities > _LARGEST.entities:
            raise ValueError(f"limits must be at most {_LARGEST}")
        return limits

    @field_serializer("box_format")
    def _short(self, box_format: BoxFormat) -> dict[str, Any]:
        return box_format.as_data()

    @field_serializer("profile", "weights")
    def _short_profile(self, profile: ModelProfile | None) -> dict[str, Any] | None:
        # Earlier versions can read bundles of the conventions that they know.
        return None if profile is None else {**asdict(profile), "box_format": profile.box_format.as_data()}

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into a bundle's folder."""
        (folder / MANIFEST_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle and check every file against it.

    Raises:
        BundleError: The folder is not a bundle; the manifest cannot be read or has another format; a path leads out of
            the folder; or a file is missing, was modified or is not in the manifest.
    """
    recover_folder(folder)
    file = folder / MANIFEST_FILE
    if not _is_file(file):
        raise BundleError("The folder is not a bundle", received=str(folder), accepted=f"a folder with {MANIFEST_FILE}")
    record = recorded_json(file, "the manifest of a bundle")
    version = record.get("format") if isinstance(record, dict) else None
    if version != FORMAT:
        raise BundleError(
            f"{file} has another format", received=version, accepted=f"format {FORMAT}", remedy="Update gmner"
        )
    try:
        manifest = Manifest.model_validate_json(json.dumps(record))
    except (ValidationError, GmnerError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(f"{file} is not the manifest of a bundle", remedy=str(error)) from error
    _check_files(folder, manifest.files)
    if manifest.adapter:
        _check_adapter(folder, manifest.files)
    return manifest


def hash_files(folder: Path) -> dict[str, str]:
    """Path in the bundle -> sha256, for every file of a folder except the manifest."""
    return {path: _sha256(folder / path) for path in _listed(folder) if path != MANIFEST_FILE}


def _check_files(folder: Path, files: dict[str, str]) -> None:
    for path, expected in files.items():
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path:
            raise BundleError("A path in the manifest leads out of the bundle", received=path)
        if not _is_file(folder / path):
            raise BundleError("A file of the bundle is missing", received=str(folder / path), remedy=_AGAIN)
        actual = _sha256(folder / path)
        if actual != expected:
            raise BundleError(
                f"A file of the bundle was modified: {folder / path}",
                received=f"sha256 {actual}",
                accepted=f"sha256 {expected}",
                remedy=_AGAIN,
            )
    # Libraries would load a file that was added to a subfolder; at the top level, users may add notes.
    extra = [path for path in _listed(folder) if "/" in path and path not in files]
    if extra:
        raise BundleError("The bundle has a file that is not in its manifest", received=extra[0], remedy="Remove it")


def _check_adapter(folder: Path, files: dict[str, str]) -> None:
    for name in ADAPTER_FILES:
        if f"adapter/{name}" not in files:
            raise BundleError("A file of the bundle's adapter is missing", received=str(folder / "adapter" / name))
    check_adapter_config(folder / "adapter")


def _listed(folder: Path) -> Iterator[str]:
    """The relative paths of all files in a folder, sorted.

    Raises:
        BundleError: A subfolder is a symbolic link; its target could change after the check.
    """
    paths = []
    for place, folders, names in os.walk(folder):
        for name in folders:
            if (Path(place) / name).is_symlink():
                raise BundleError(
                    "A folder of the bundle is a symbolic link",
                    received=str(Path(place) / name),
                    accepted="folders and files",
                    remedy="Replace the link with a copy of its target",
                )
        paths += [(Path(place) / name).relative_to(folder).as_posix() for name in names]
    return iter(sorted(paths))


def _is_file(path: Path) -> bool:
    """Whether the path is a file; false for an invalid path, for example one that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
