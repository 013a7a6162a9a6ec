"""`AnsweringProgram`: the interface of a program for corpus runs, bundles, the Hub and DSPy's optimizers."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self

import dspy

from gmner.data.post import Post
from gmner.programs.adapter import PromptAdapter
from gmner.programs.models.families import ModelProfile
from gmner.signatures.labels import LabelSet
from gmner.signatures.schema import Limits


class AnsweringProgram(Protocol):
    """A program that predicts the entities of posts; `GroundingProgram` documents the attributes and methods.

    Attributes:
        labels: The entity types.
        limits: Limits of an answer.
        profile: Coordinate convention and resize rule of the model; None: inferred from the model.
        image_root: Folder that image paths must stay in; None: any local path.
        confidence: Whether each entity has a confidence.
        answers: Number of answers sampled for each post.
        temperature: Sampling temperature if `answers` is larger than 1.
        limit_pictures: Largest number of images of a post that are used; None: all.
        scores: Scores that an optimizer measured, or None.
    """

    labels: LabelSet
    limits: Limits
    profile: ModelProfile | None
    image_root: Path | None
    confidence: bool
    answers: int
    temperature: float
    limit_pictures: int | None
    scores: dict[str, Any] | None

    @property
    def names_entities(self) -> bool:
        """Whether the answers name the entities of the text. False: the text is a referring expression."""

    @property
    def model(self) -> dspy.BaseLM:
        """The LM of the program."""

    def adapter(self) -> PromptAdapter:
        """The prompt adapter for the program's labels and model."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Predict the entities of one post: `text`, and `image` or `images`."""

    def predictors(self) -> list[Any]:
        """The predictors, in order."""

    def named_predictors(self) -> list[tuple[str, Any]]:
        """The predictors with their names, in order."""

    def example_of(self, post: Post) -> dspy.Example:
        """The DSPy example of an annotated post."""

    def deepcopy(self) -> Self:
        """A copy that shares the weights."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the program as a bundle."""
