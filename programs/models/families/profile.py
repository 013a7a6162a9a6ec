"""`ModelProfile`: the properties of a model that its prompts depend on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gmner.data.listing import counted
from gmner.programs.models.families.resize import ResizeRule
from gmner.signatures.boxes import BoxFormat, Size
from gmner.signatures.errors import GmnerError, InputError, ModelError
from gmner.signatures.number_checks import check_integer

PROFILE_FILE = "gmner.json"
"""An optional file in a model's folder that overrides the family:
`{"box_format": {"frame", "scale", "order", "form"}, "terse": bool, "resize": {"factor", "min_pixels", "max_pixels"},
"max_pictures": int or null}`; what it does not say is as in the family. A terse model takes one image of a post unless
`max_pictures` says otherwise, because the short wording does not number images."""

_EXAMPLE = (
    '{"box_format": {"frame": "normalized", "scale": 1000, "order": "xyxy", "form": "integers"}, "terse": false}'
    ', and for the frame "resized" also "resize": {"factor": 28, "min_pixels": 3136, "max_pixels": 12845056}'
)
_KEYS = ("box_format", "terse", "resize", "max_pictures")


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """The properties of a model that its prompts depend on.

    Attributes:
        box_format: The coordinate convention of the model.
        terse: Whether the model was trained on the short prompt wording (the embedded model was).
        rule: How the processor resizes an image; None: not known. The `normalized` convention does not need it.
        max_pictures: Largest number of images of a post; None: any number.

    Raises:
        InputError: `max_pictures` is not an integer of at least 1.
    """

    box_format: BoxFormat = BoxFormat()  # noqa: RUF009 - frozen
    terse: bool = False
    rule: ResizeRule | None = None
    max_pictures: int | None = None

    def __post_init__(self) -> None:
        """Check the number of images."""
        check_integer("max_pictures", self.max_pictures, optional=True)

    def check_pictures(self, number: int) -> None:
        """Check that the model takes as many images as a post has.

        Raises:
            InputError: It takes fewer.
        """
        if self.max_pictures is not None and number > self.max_pictures:
            most = counted(self.max_pictures, "image", "images")
            remedy = (
                f"Use only the first: limit_pictures={self.max_pictures} (on the command line, --limit-pictures "
                f"{self.max_pictures}), or choose a model that takes several"
            )
            fact = f"The model takes at most {most} of a post"
            raise InputError(fact, received=number, accepted=f"posts with at most {most}", remedy=remedy)

    def as_data(self) -> dict[str, Any]:
        """The profile as JSON data, as in `gmner.json`; see `as_profile`."""
        resize = {} if self.rule is None else {"resize": dataclasses.asdict(self.rule)}
        default = 1 if self.terse else None
        most = {} if self.max_pictures == default else {"max_pictures": self.max_pictures}
        return {"box_format": dataclasses.asdict(self.box_format), "terse": self.terse, **resize, **most}

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
        box_format = BoxFormat(**{**dataclasses.asdict(known.box_format), **_part(given, "box_format")})
        rule = ResizeRule(**_part(given, "resize")) if given.get("resize") is not None else known.rule
    except (ValueError, TypeError, AttributeError, GmnerError) as error:
        raise ModelError(f"{name} is not a valid profile", received=str(error), accepted=_EXAMPLE) from error
    terse = given.get("terse", known.terse)
    if type(terse) is not bool:
        raise ModelError(f"{name} is not a valid profile", received=given, accepted=_EXAMPLE)
    try:
        return ModelProfile(box_format, terse, rule, given.get("max_pictures", 1 if terse else known.max_pictures))
    except InputError as error:
        raise ModelError(f"{name} is not a valid profile", received=str(error), accepted=_EXAMPLE) from error


def _part(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """`box_format` or `resize`, after a check of its keys; empty: it is missing."""
    part = given.get(name, {})
    keys = [field.name for field in dataclasses.fields(BoxFormat if name == "box_format" else ResizeRule)]
    if not isinstance(part, Mapping):
        raise ValueError(f"{name} must be an object with {', '.join(keys)}")
    _refuse_keys(part, keys, name)
    if name == "resize" and (missing := [key for key in keys if key not in part]):
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    return part


def _refuse_keys(given: Mapping[str, Any], keys: Sequence[str], name: str) -> None:
    unknown = ", ".join(str(key) for key in given if key not in keys)
    if unknown:
        raise ValueError(f"{name} has no key {unknown}; its keys are {', '.join(keys)}")


def _refuse_unknown(given: Mapping[str, Any], base: ModelProfile | None) -> None:
    _refuse_keys(given, _KEYS, "a profile")
    if base is None and "frame" not in _part(given, "box_format"):
        raise ValueError("without a supported family, box_format must have a frame")
