"""`AnsweringProgram`: a program as corpus runs, bundles, the hub and DSPy's optimizers use it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self

import dspy

from gmner.programs.adapter import PromptAdapter
from gmner.programs.models.families import ModelProfile
from gmner.signatures.labels import LabelSet
from gmner.signatures.schema import Limits


class AnsweringProgram(Protocol):
    """A program that answers posts; `GroundingProgram` documents the attributes and methods.

    Attributes:
        labels: The entity types.
        limits: Bounds of an answer.
        profile: Coordinate convention and resize rule of the model; None: inferred from the model.
        image_root: Folder that image paths must stay in; None: any local path.
        confidence: Whether each entity has a confidence.
        answers: Answers sampled for each post.
        temperature: Temperature of several answers.
        scores: What an optimizer measured; None: nothing.
    """

    labels: LabelSet
    limits: Limits
    profile: ModelProfile | None
    image_root: Path | None
    confidence: bool
    answers: int
    temperature: float
    scores: dict[str, Any] | None

    @property
    def model(self) -> dspy.BaseLM:
        """The LM that answers."""

    def adapter(self) -> PromptAdapter:
        """The prompt adapter for the program's labels and model."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one post: `text`, `image`."""

    def predictors(self) -> list[Any]:
        """The predictors, in order."""

    def named_predictors(self) -> list[tuple[str, Any]]:
        """The predictors with their names, in order."""

    def deepcopy(self) -> Self:
        """A copy that shares the weights."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the program as a bundle."""
