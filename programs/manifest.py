"""The manifest of a bundle: what the program is, on which weights it runs, and the hash of every file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gmner.data.files.folders import recover_folder
from gmner.programs.models.families import ModelProfile
from gmner.programs.recorded import ADAPTER_FILES, DTYPES, check_adapter_config, recorded_json
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import BundleError, GmnerError
from gmner.signatures.labels import LabelSet
from gmner.signatures.schema import Limits

MANIFEST_FILE = "manifest.json"
FORMAT = 1
"""Raised when a bundle is laid out so that an older version could not read it."""

Sampling = Literal["temperature", "max_tokens", "top_p", "top_k", "seed"]
SAMPLING: tuple[Sampling, ...] = get_args(Sampling)
"""The arguments of an LM that a bundle keeps."""

_LARGEST = Limits(reasoning=10**6, entities=10**4)
_AGAIN = "Get the bundle again, or save the program anew"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Base(_Part):
    """The weights beneath a program.

    Attributes:
        kind: `embedded` (the model of this package), `hub`, `path` (a local folder too large to be copied), `bundled`
            (in the bundle's `model/`), or `served` (the program's LM has no weights here).
        model: Hub id, path, or the model string of a served LM; None: embedded or bundled.
        revision: The commit on the hub.
        fingerprint: Of the base without adapter, see `gmner.programs.models.fingerprint`; None: served.
    """

    kind: Literal["embedded", "hub", "path", "bundled", "served"]
    model: str | None = None
    revision: str | None = None
    fingerprint: str | None = None


class Settings(_Part):
    """How the LM was set up.

    Attributes:
        name: What it is called in its model string; None: a served LM.
        cache: Whether DSPy may answer from its cache.
        sampling: Its sampling arguments.
        dtype: As for `load_vlm`.
        max_batch: As for `load_vlm`.
        backend: As for `load_vlm`.
        model_kwargs: As for `load_vlm`.
    """

    name: str | None = None
    cache: bool = True
    sampling: dict[Sampling, float | int | None] = {}
    dtype: str = "auto"
    max_batch: Annotated[int, Field(ge=1)] = 16
    backend: str = "llguidance"
    model_kwargs: dict[str, Any] = {}

    @field_validator("dtype")
    @classmethod
    def _known(cls, dtype: str) -> str:
        if dtype not in DTYPES:
            raise ValueError(f"dtype is one of {', '.join(DTYPES)}")
        return dtype


class Manifest(_Part):
    """What `manifest.json` holds.

    Attributes:
        format: Version of the bundle's form.
        program: Name of the program's class.
        base: The weights.
        adapter: Whether a LoRA adapter lies in `adapter/`.
        lm: How the LM was set up.
        box_format: The frame in which the model writes boxes; told, and taken from the model again when loaded.
        profile: The profile that the program was given, or None: the model's own.
        weights: The profile of the weights, for where they are served; None: it was a served model itself.
        labels: Entity types with descriptions.
        limits: Bounds of an answer.
        versions: Libraries and their versions.
        scores: What an optimizer measured, or None.
        files: Path in the bundle -> sha256, for every file but the manifest.
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
            raise ValueError(f"limits are at most {_LARGEST}")
        return limits

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into a bundle's folder."""
        (folder / MANIFEST_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle and check every file against it.

    Raises:
        BundleError: No bundle, a manifest that cannot be read or is of another format, a path that leaves the folder,
            a file that is missing, was changed or is not in the manifest.
    """
    recover_folder(folder)
    file = folder / MANIFEST_FILE
    if not _is_file(file):
        raise BundleError("There is no bundle here", received=str(folder), accepted=f"a folder with {MANIFEST_FILE}")
    record = recorded_json(file, "the manifest of a bundle")
    version = record.get("format") if isinstance(record, dict) else None
    if version != FORMAT:
        raise BundleError(
            f"{file} is of another format", received=version, accepted=f"format {FORMAT}", remedy="Update gmner"
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
    """Path in the bundle -> sha256, for every file of a folder but the manifest."""
    return {path: _sha256(folder / path) for path in _listed(folder) if path != MANIFEST_FILE}


def _check_files(folder: Path, files: dict[str, str]) -> None:
    for path, expected in files.items():
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path:
            raise BundleError("A path in a bundle's manifest leaves the bundle", received=path)
        if not _is_file(folder / path):
            raise BundleError("A file of a bundle is missing", received=str(folder / path), remedy=_AGAIN)
        found = _sha256(folder / path)
        if found != expected:
            raise BundleError(
                f"A file of a bundle was changed: {folder / path}",
                received=f"sha256 {found}",
                accepted=f"sha256 {expected}",
                remedy=_AGAIN,
            )
    # A file added beside the weights would be read with them; elsewhere it is only a note of the user's.
    extra = [path for path in _listed(folder) if "/" in path and path not in files]
    if extra:
        raise BundleError("A bundle holds a file that is not in its manifest", received=extra[0], remedy="Remove it")


def _check_adapter(folder: Path, files: dict[str, str]) -> None:
    for name in ADAPTER_FILES:
        if f"adapter/{name}" not in files:
            raise BundleError("A file of a bundle's adapter is missing", received=str(folder / "adapter" / name))
    check_adapter_config(folder / "adapter")


def _listed(folder: Path) -> Iterator[str]:
    """Every file below a folder by its path in it, in order.

    Raises:
        BundleError: A folder is a link, behind which other files could be read than those that are checked.
    """
    found = []
    for place, folders, names in os.walk(folder):
        for name in folders:
            if (Path(place) / name).is_symlink():
                raise BundleError(
                    "A folder of a bundle is a link",
                    received=str(Path(place) / name),
                    accepted="folders and files",
                    remedy="Copy what the link leads to into its place",
                )
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in names]
    return iter(sorted(found))


def _is_file(path: Path) -> bool:
    """Whether a file lies there; not at a path that the system does not take, for instance because it is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
