"""`ModelProfile`: the properties of a model that its prompts depend on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gmner.programs.models.families.resize import ResizeRule
from gmner.signatures.boxes import BoxFormat, Size
from gmner.signatures.errors import GmnerError, ModelError

PROFILE_FILE = "gmner.json"
"""An optional file in a model's folder that overrides the family:
`{"box_format": {"frame", "scale", "order", "form"}, "terse": bool, "resize": {"factor", "min_pixels", "max_pixels"}}`;
what it does not say is as in the family."""

_EXAMPLE = (
    '{"box_format": {"frame": "normalized", "scale": 1000, "order": "xyxy", "form": "integers"}, "terse": false}'
    ', and for the frame "resized" also "resize": {"factor": 28, "min_pixels": 3136, "max_pixels": 12845056}'
)
_KEYS = ("box_format", "terse", "resize")


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """The properties of a model that its prompts depend on.

    Attributes:
        box_format: The coordinate convention of the model.
        terse: Whether the model was trained on the short prompt wording (the embedded model was).
        rule: How the processor resizes an image; None: not known. The `normalized` convention does not need it.
    """

    box_format: BoxFormat = BoxFormat()  # noqa: RUF009 - frozen
    terse: bool = False
    rule: ResizeRule | None = None

    def as_data(self) -> dict[str, Any]:
        """The profile as JSON data, as in `gmner.json`; see `as_profile`."""
        resize = {} if self.rule is None else {"resize": dataclasses.asdict(self.rule)}
        return {"box_format": dataclasses.asdict(self.box_format), "terse": self.terse, **resize}

    def resized(self, size: Size) -> Size | None:
        """(width, height) after the processor's own resize of an image of `size` pixels; None: not known."""
        return None if self.rule is None else self.rule(size)


@runtime_checkable
class Profiled(Protocol):
    """An engine with the profile of its model."""

    profile: ModelProfile


@runtime_checkable
class Batching(Profiled, Protocol):
    """An engine that batches up to `max_batch` requests."""

    max_batch: int


@runtime_checkable
class InProcess(Profiled, Protocol):
    """An engine in this process: images are passed by reference, see `gmner.programs.prompt_images.named`.

    Attributes:
        image_pixels: Largest number of pixels after the processor's resize; None: not known.
    """

    image_pixels: int | None


ProfileLike = ModelProfile | Mapping[str, Any] | str | PathLike[str]
"""A profile, its JSON data, a JSON file with them, or a folder with `gmner.json`."""


def as_profile(value: ProfileLike | object, base: ModelProfile | None = None) -> ModelProfile:
    """Convert what a user passes as `profile` to a profile.

    Args:
        value: A profile, JSON data as in `gmner.json`, or the file or folder that contains them.
        base: The profile of the model's family, which has the values that `value` lacks. None: no family is known;
            JSON data must then have a `box_format` with a `frame`.

    Raises:
        ModelError: The file does not exist, or the data are not a valid profile.
    """
    if isinstance(value, ModelProfile):
        return value if base is None or value.rule is not None else replace(value, rule=base.rule)
    if isinstance(value, Mapping):
        return _of_data(value, base, "profile")
    if not isinstance(value, (str, PathLike)):
        accepted = "a ModelProfile, its JSON data, or the path of a JSON file"
        raise ModelError("profile has the wrong type", received=value, accepted=accepted)
    file = _file_of(value)
    return _of_data(_read(file), base, str(file))


def profile_data(value: ProfileLike) -> dict[str, Any]:
    """What a user passes as `profile`, as JSON data that `as_profile` converts; files are read.

    Raises:
        ModelError: See `as_profile`.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (str, PathLike)):
        return _read(_file_of(value))
    return as_profile(value).as_data()


def stored_profile(folder: Path, base: ModelProfile | None) -> ModelProfile | None:
    """The profile in `gmner.json` of a checkpoint's folder; None: there is none that says how boxes are written.

    Args:
        folder: The folder.
        base: The profile of the model's family, which has the values that the file lacks; None: no family is known.

    Raises:
        ModelError: `gmner.json` is not a valid profile.
    """
    file = folder / PROFILE_FILE
    return _of_data(_read(file), base, str(file)) if file.is_file() else None


def _file_of(value: str | PathLike[str]) -> Path:
    path = Path(value)
    file = path / PROFILE_FILE if path.is_dir() else path
    if not file.is_file():
        remedy = f"Write one: {_EXAMPLE}. `gmner probe MODEL` finds the values"
        raise ModelError("The file of the profile does not exist", received=str(file), remedy=remedy)
    return file


def _read(file: Path) -> dict[str, Any]:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ModelError(f"{file} is not a valid profile", received=str(error), accepted=_EXAMPLE) from error
    if not isinstance(given, dict):
        raise ModelError(f"{file} is not a valid profile", received=given, accepted=_EXAMPLE)
    return given


def _of_data(given: Mapping[str, Any], base: ModelProfile | None, name: str) -> ModelProfile:
    """The profile that JSON data describe; see `as_profile`."""
    known = ModelProfile() if base is None else base
    try:
        _refuse_unknown(given, base)
        box_format = BoxFormat(**{**dataclasses.asdict(known.box_format), **given.get("box_format", {})})
        rule = ResizeRule(**given["resize"]) if given.get("resize") is not None else known.rule
    except (ValueError, TypeError, AttributeError, GmnerError) as error:
        raise ModelError(f"{name} is not a valid profile", received=str(error), accepted=_EXAMPLE) from error
    terse = given.get("terse", known.terse)
    if type(terse) is not bool:
        raise ModelError(f"{name} is not a valid profile", received=given, accepted=_EXAMPLE)
    return ModelProfile(box_format, terse, rule)


def _refuse_unknown(given: Mapping[str, Any], base: ModelProfile | None) -> None:
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise ValueError(f"unknown: {', '.join(map(str, unknown))}")
    if base is None and "frame" not in given.get("box_format", {}):
        raise ValueError("without a supported family, box_format must have a frame")
