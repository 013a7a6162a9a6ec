"""`ModelFamily`: what is special about a family of vision-language models."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gmner.programs.models.families.image_inputs import ImageInputs
from gmner.programs.models.families.resize import ResizeRule
from gmner.programs.models.families.thinking import Thinking
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError
from gmner.signatures.number_checks import check_integer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

NORMALIZED = BoxFormat("normalized", 1000)
"""Coordinates in 0..1000 of width and height, the convention of most families."""

VISION_MODULES = r".*(vision|visual|connector|merger|multi_modal_projector).*"
"""Regular expression of the names of modules that belong to the vision tower of most families."""


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """What is special about a family of vision-language models. The defaults are right for most families.

    A module that creates a family must not import torch or transformers: the name of a served model is looked up
    without them. The functions below import what they need when they are called.

    Attributes:
        name: The `model_type` in the configuration of its checkpoints.
        box_format: The coordinate convention in which its models write boxes.
        served_as: Regular expression for the names of its models on a server, ignoring case; empty: its models are
            not recognised by name.
        default_resize: How the processor of the published checkpoints resizes an image, for served models.
        resize: Image processor of a loaded checkpoint -> how it resizes an image. None: not known.
        image_pixels: Image processor -> largest number of pixels of an image after the resize, without the thumbnail of
            processors that split an image into tiles. None: the limit of `resize`, or not known.
        processor: Returns the class that loads the processor. None: `AutoProcessor`.
        prepare: Changes a model after its weights are loaded, for inference and for training.
        image_inputs: How the processor passes images to the model. None: not known, so that encoded images are not
            cached, and that in training each answer has its own copy of the prompt.
        max_pictures: Largest number of images of a post that its models take; None: any number.
        vision_modules: Regular expression that matches the full names of the modules of the vision tower, and no
            others; `lora-frozen-vision` does not train them.
        model_types: Further values of `model_type` with which its checkpoints are configured.
        title: The name for people, for example `Qwen2.5-VL`; empty: `name`.
        convention: Whether the makers of the models publish `box_format` (`published`), others report it
            (`unconfirmed`), or nothing is known and the models must be trained on it (`none`).
        source: Where the convention is published.
        untried: What has not been tried with this family, as a sentence without a full stop; empty: nothing to say.
        refused: Why its models cannot be used without a profile; empty: they can.
        no_training: Why neither MRSI nor CVO can train its models, as a sentence without a full stop; empty: they can.
        no_grpo: Why CVO cannot train its models, as a sentence without a full stop; empty: it can.
        thinking: The markers of its thinking models. None: those that the chat template of a checkpoint mentions.

    Raises:
        InputError: A regular expression is invalid, or `max_pictures` is not an integer of at least 1.
    """

    name: str
    box_format: BoxFormat = NORMALIZED
    served_as: str = ""
    default_resize: ResizeRule | None = None
    resize: Callable[[Any], ResizeRule] | None = None
    image_pixels: Callable[[Any], int] | None = None
    processor: Callable[[], type[ProcessorMixin]] | None = None
    prepare: Callable[[PreTrainedModel], None] | None = None
    image_inputs: ImageInputs | None = None
    vision_modules: str = VISION_MODULES
    max_pictures: int | None = None
    model_types: tuple[str, ...] = ()
    title: str = ""
    convention: Literal["published", "unconfirmed", "none"] = "published"
    source: str = ""
    untried: str = ""
    refused: str = ""
    no_training: str = ""
    no_grpo: str = ""
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        """Check the regular expressions and the number of images."""
        check_integer("max_pictures", self.max_pictures, optional=True)
        for field in ("served_as", "vision_modules"):
            try:
                re.compile(getattr(self, field))
            except (re.error, TypeError) as error:
                fact = f"{field} is not a regular expression"
                raise InputError(fact, received=getattr(self, field), remedy=str(error)) from error

    @property
    def shown_as(self) -> str:
        """The name for people."""
        return self.title or self.name

    @property
    def convention_text(self) -> str:
        """The coordinate convention for people, for example in the log."""
        after = " after the processor's resize" if self.box_format.frame == "resized" else ""
        return self.box_format.describe().replace("the picture", "the image") + after

    def notice(self) -> str:
        """What a user should know before trusting the boxes of this family; empty: nothing."""
        boxes = f"Boxes of {self.shown_as} are read as {self.convention_text}"
        check = "Check it with `gmner probe`, or pass a profile"
        if self.convention == "none":
            missing = f"{self.shown_as} has no published coordinate convention"
            return f"{missing}. {boxes}, on which it must be trained. {check}"
        if self.convention == "unconfirmed":
            return f"{boxes}, which its makers have not confirmed (source: {self.source}). {check}"
        return f"{boxes} (source: {self.source}). {self.untried}. {check}" if self.untried else ""

    def processor_class(self) -> Any:
        """The class whose `from_pretrained` loads the processor of a checkpoint."""
        if self.processor is not None:
            return self.processor()
        from transformers import AutoProcessor

        return AutoProcessor

    def prepared(self, model: PreTrainedModel) -> PreTrainedModel:
        """The same model after `prepare`."""
        if self.prepare is not None:
            self.prepare(model)
        return model

    def largest_image(self, image_processor: Any) -> int | None:
        """Largest number of pixels after the resize, see `image_pixels`; None: not known."""
        if self.image_pixels is not None:
            return self.image_pixels(image_processor)
        return None if self.resize is None else self.resize(image_processor).max_pixels
