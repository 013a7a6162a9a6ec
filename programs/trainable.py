"""`Trainable`: a program that MCR compiles, and `ProgramCall`, one call of it that is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import dspy

from gmner.data.post import Post
from gmner.programs.answering import AnsweringProgram
from gmner.signatures.mentions import GroundedEntity


@dataclass(frozen=True, slots=True)
class ProgramCall:
    """One question to the model.

    Attributes:
        post: The post that it is about.
        signature: Its signature with the current instructions.
        demos: The demonstrations that are sent with it.
        inputs: The inputs of the signature.
        rest: How its answer becomes the program's, see `gmner.programs.call_column`; None: it is the
            program's.
    """

    post: Post
    signature: type[dspy.Signature]
    demos: Sequence[Mapping[str, Any]]
    inputs: Mapping[str, Any]
    rest: str | None = None


def post_inputs(post: Post) -> dict[str, Any]:
    """The inputs of the end-to-end signature for a post."""
    return {"text": post.text, "image": post.image}


TuningCall: TypeAlias = tuple[ProgramCall, Mapping[str, Any]]
"""A call, and the values of the signature's outputs that should be answered to it."""

Keep: TypeAlias = Callable[[Callable[..., list[Any]]], Sequence[Any]]
"""Calls `answer(posts, progress=...)`, or returns what it returned before the compile was resumed."""


@runtime_checkable
class Trainable(AnsweringProgram, Protocol):
    """A program that MCR compiles: what its weights are trained on. `GMNER` and `StagedGMNER` are such programs.

    Attributes:
        whole_answers: Whether one call gives the whole answer of a post: only then MRSI can set demonstrations, and
            train on answers without a chain.
        demonstrations: The demonstrations of that call; always empty where there is no such call.
    """

    @property
    def whole_answers(self) -> bool:
        """Whether one call gives the whole answer of a post."""

    @property
    def demonstrations(self) -> list[Any]:
        """The demonstrations of a whole answer."""

    def set_demonstrations(self, demos: Sequence[Any]) -> None:
        """Replace the demonstrations of a whole answer; does nothing where no call gives one."""

    def set_lm(self, lm: dspy.BaseLM) -> None:
        """Use this LM for every call."""

    def tuning_calls(
        self, post: Post, reasoning: str, entities: Sequence[GroundedEntity], demos: Sequence[Mapping[str, Any]]
    ) -> list[TuningCall]:
        """The calls that a reasoning chain and its answer teach: the rows of supervised fine-tuning.

        Args:
            post: An annotated post.
            reasoning: The chain; empty: the answer alone.
            entities: The answer, boxes in pixels of the original image.
            demos: The demonstrations of a whole answer.
        """

    def rollout_calls(self, posts: Sequence[Post], demos: Sequence[Mapping[str, Any]], keep: Keep) -> list[ProgramCall]:
        """The calls that are sampled and rewarded.

        Args:
            posts: Annotated posts.
            demos: The demonstrations of a whole answer.
            keep: For a program that has to answer the posts first: calls the function it is given with the posts, and
                returns one JSON value a post, the same ones when a compile is resumed.
        """
