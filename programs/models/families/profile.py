"""`ModelProfile`: the properties of a model that its prompts depend on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from gmner.data.listing import counted
from gmner.programs.models.families.resize import ResizeRule
from gmner.signatures.boxes import BoxFormat, Size
from gmner.signatures.errors import GmnerError, InputError, ModelError
from gmner.signatures.number_checks import check_integer

PROFILE_FILE = "gmner.json"
"""An optional file in a model's folder, which overrides the family.

`{"box_format": {"frame", "scale", "order", "form"}, "terse": bool, "max_pictures": int or null}`; what it does not say
is as in the family. A terse model takes one image of a post unless `max_pictures` says otherwise, because the short
wording does not number images.
"""


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


def overridden(profile: ModelProfile, folder: Path) -> ModelProfile:
    """The profile with the values of `gmner.json` in a checkpoint's folder, if there is one.

    Raises:
        ModelError: `gmner.json` is not a valid profile.
    """
    file = folder / PROFILE_FILE
    if not file.is_file():
        return profile
    accepted = (
        '{"box_format": {"frame": "normalized", "scale": 1000, "order": "xyxy", "form": "integers"}, "terse": false}'
    )
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        box = {**dataclasses.asdict(profile.box_format), **given.get("box_format", {})}
        box_format, terse = BoxFormat(**box), given.get("terse", profile.terse)
    except (ValueError, TypeError, AttributeError, RecursionError, OSError, GmnerError) as error:
        raise ModelError(f"{file} is not a valid profile", received=str(error), accepted=accepted) from error
    if type(terse) is not bool:
        raise ModelError(f"{file} is not a valid profile", received=given, accepted=accepted)
    pictures = given.get("max_pictures", 1 if terse else profile.max_pictures)
    try:
        return ModelProfile(box_format, terse, profile.rule, pictures)
    except InputError as error:
        raise ModelError(f"{file} is not a valid profile", received=str(error), accepted=accepted) from error
