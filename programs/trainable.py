"""`Trainable`, the interface of a program that MCR can compile, and `ProgramCall`, one of its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import dspy

from gmner.data.post import Post
from gmner.programs.answering import AnsweringProgram
from gmner.programs.prompt_images import picture_inputs
from gmner.signatures.mentions import GroundedEntity


@dataclass(frozen=True, slots=True)
class ProgramCall:
    """One call of the model.

    Attributes:
        post: The post.
        signature: The signature with the current instructions.
        demos: The demonstrations in the prompt.
        inputs: The inputs of the signature.
        rest: The results of the program's other calls, which complete its answer, see `gmner.programs.call_column`;
            None: this call gives the whole answer.
    """

    post: Post
    signature: type[dspy.Signature]
    demos: Sequence[Mapping[str, Any]]
    inputs: Mapping[str, Any]
    rest: str | None = None


def post_inputs(post: Post) -> dict[str, Any]:
    """The inputs of the end-to-end signature for a post."""
    return {"text": post.text, **picture_inputs(post.images)}


TuningCall: TypeAlias = tuple[ProgramCall, Mapping[str, Any]]
"""A call, and the expected values of the signature's outputs."""

Keep: TypeAlias = Callable[..., Sequence[Any]]
"""`keep(answer, posts)` calls `answer(posts, progress=...)` and stores the result, which a resumed compile gets.

`keep(answer)` does so with all posts that the program was asked for.
"""


@runtime_checkable
class Trainable(AnsweringProgram, Protocol):
    """A program that MCR can compile, such as `GMNER` and `StagedGMNER`; it defines the calls that are trained.

    Attributes:
        whole_answers: Whether one call gives the whole answer of a post. Only then can MRSI set demonstrations, and
            train on answers without a chain.
        demonstrations: The demonstrations of that call; empty if there is no such call.
        tasks: The tasks whose posts the program learns, see `gmner.Post.task`. Optional: `gmner` alone without it.
    """

    @property
    def whole_answers(self) -> bool:
        """Whether one call gives the whole answer of a post."""

    @property
    def demonstrations(self) -> list[Any]:
        """The demonstrations of a whole answer."""

    def set_demonstrations(self, demos: Sequence[Any]) -> None:
        """Replace the demonstrations of a whole answer; does nothing if no call gives one."""

    def set_lm(self, lm: dspy.BaseLM) -> None:
        """Use this LM for every call."""

    def tuning_calls(
        self, post: Post, reasoning: str, entities: Sequence[GroundedEntity], demos: Sequence[Mapping[str, Any]]
    ) -> list[TuningCall]:
        """The calls for supervised fine-tuning on a reasoning chain and its answer.

        Args:
            post: An annotated post.
            reasoning: The chain; empty to train on the answer alone.
            entities: The answer, boxes in pixels of the original image.
            demos: The demonstrations of a whole answer.
        """

    def rollout_calls(self, posts: Sequence[Post], demos: Sequence[Mapping[str, Any]], keep: Keep) -> list[ProgramCall]:
        """The calls for reinforcement learning, which are sampled and rewarded.

        Args:
            posts: Annotated posts.
            demos: The demonstrations of a whole answer.
            keep: For a program that must process posts first, see `Keep`: returns one JSON value per post.
        """
