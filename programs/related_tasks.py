"""`RelatedTasks`: a program for GMNER also finds names alone, and grounds referring expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import dspy

from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.programs.answering import AnsweringProgram
from gmner.programs.corpus import answer_posts
from gmner.programs.grec import GREC
from gmner.programs.grounded_post import GroundedPost
from gmner.programs.mner import MNER
from gmner.programs.program import GroundingProgram, Picture
from gmner.programs.trainable import ProgramCall, TuningCall, post_inputs
from gmner.signatures.mentions import MAIN_TASK, GroundedEntity, Task
from gmner.signatures.tasks import GroundExpression, NameEntities

RELATED: Mapping[Task, type[GroundingProgram]] = {"mner": MNER, "grec": GREC}
"""The programs of the related tasks."""

_SIGNATURES: Mapping[Task, type[dspy.Signature]] = {"mner": NameEntities, "grec": GroundExpression}


class RelatedTasks(GroundingProgram):
    """Base class of `GMNER` and `StagedGMNER`, which answer the related tasks with the same weights.

    A training set may contain posts of all three tasks, see `gmner.Post.task`. The weights learn each post with the
    prompt of its own task, without demonstrations.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("gmner", "mner", "grec")

    def extract_names(self, text: str, image: Picture = None, images: Sequence[Picture] | None = None) -> GroundedPost:
        """Find the names of a post and their types, without boxes, with the weights of this program; see `MNER`.

        Arguments and errors are those of `GroundingProgram.forward`.
        """
        answer: GroundedPost = self.for_task("mner")(text=text, image=image, images=images)
        return answer

    def ground_expression(
        self, expression: str, image: Picture = None, images: Sequence[Picture] | None = None
    ) -> GroundedPost:
        """Box everything that a referring expression means, with the weights of this program; see `GREC`.

        Args:
            expression: The expression, such as `the two dogs on the left`.
            image: See `GroundingProgram.forward`.
            images: See `GroundingProgram.forward`.

        Returns:
            `reasoning`, and `entities` with a single entity: the expression, with `box` (None: the image does not show
            it) and `more_boxes`, in pixels of the original image.
        """
        answer: GroundedPost = self.for_task("grec")(text=expression, image=image, images=images)
        return answer

    def for_task(self, task: Task) -> GroundingProgram:
        """The program that answers posts of a task with the weights and settings of this one; for `gmner` itself.

        Without confidences and votes for `grec`, which has neither.
        """
        if task == "gmner":
            return self
        program = self.with_task(RELATED[task])
        if task == "grec":
            program.confidence, program.answers = False, 1
        return program


def learned_tasks(program: object) -> tuple[Task, ...]:
    """The tasks whose posts a program can be trained on: its attribute `tasks`, or GMNER alone."""
    return getattr(program, "tasks", MAIN_TASK)


def related_call(post: Post) -> ProgramCall:
    """The call that answers a post of a related task."""
    return ProgramCall(post, _SIGNATURES[post.task], (), post_inputs(post))


def related_tuning_call(post: Post, reasoning: str, entities: Sequence[GroundedEntity]) -> TuningCall:
    """The call for a post of a related task with its gold answer.

    Args:
        post: The post.
        reasoning: The chain; empty to train on the answer alone.
        entities: The answer; for an expression a single entity with all of its boxes.
    """
    values: dict[str, Any] = {"reasoning": reasoning}
    if post.task == "mner":
        return related_call(post), {**values, "mentions": list(entities)}
    return related_call(post), {**values, "boxes": [box for entity in entities for box in entity.boxes]}


def answer_by_task(program: AnsweringProgram, posts: Sequence[Post], **running: Any) -> Predictions:
    """Answer each post with the program of its task, which has the same weights.

    Args:
        program: A program; posts of a related task need a `RelatedTasks`.
        posts: Posts with unique ids.
        **running: Options of `gmner.programs.corpus.answer_posts`.

    Returns:
        The predictions in the order of the posts.
    """
    groups: dict[Task, list[Post]] = {}
    for post in posts:
        groups.setdefault(post.task, []).append(post)
    found: dict[str, Prediction] = {}
    for task, group in groups.items():
        asked = program.for_task(task) if isinstance(program, RelatedTasks) else program
        found |= {prediction.id: prediction for prediction in answer_posts(asked, group, **running)}
    return Predictions((found[post.id] for post in posts), posts)
