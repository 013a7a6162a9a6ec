"""`GMNER`: predicts all entities of a post with one model call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import dspy

from gmner.data.post import Post
from gmner.programs.program import Answer, Inputs
from gmner.programs.related_tasks import RelatedTasks, related_call, related_tuning_call
from gmner.programs.trainable import Keep, ProgramCall, TuningCall, post_inputs
from gmner.signatures.mentions import GroundedEntity
from gmner.signatures.tasks import GroundEntities


class GMNER(RelatedTasks):
    """Grounded multimodal named entity recognition with one model call: reasoning, then entities with types and boxes.

    Args:
        lm: Any `dspy.LM`, see `load_vlm`; None: the one of `dspy.configure`.
        labels: The entity types: a `LabelSet`, a list of names, or a mapping name -> description.
        profile: Coordinate convention and resize rule of the model, if they cannot be inferred from its name.
        image_root: Folder that image paths must stay in; None: any local path.
        fetch: Download images that are given as URLs.
        limits: Limits of an answer: characters of reasoning, number of entities.
        **answering: `confidence`, `answers`, `temperature` and `limit_pictures`, see
            `gmner.programs.program.GroundingProgram`.

    Example:
        >>> import gmner  # doctest: +SKIP
        >>> program = gmner.GMNER(lm=gmner.load_vlm())  # doctest: +SKIP
        >>> program(text="Mira Voss cries at the speech", image="post.png").entities  # doctest: +SKIP

    Source: the task of MCR (Ma et al., Findings of ACL 2026); the format of the answer is ours.
    """

    bundle_name: ClassVar[str] = "GMNER"

    whole_answers = True

    @property
    def demonstrations(self) -> list[Any]:
        """The demonstrations in the prompt: inputs and outputs, with boxes in pixels of their own image."""
        return self.answer.demos

    def set_demonstrations(self, demos: Sequence[Any]) -> None:
        """Replace the demonstrations in the prompt."""
        self.answer.demos = list(demos)

    def tuning_calls(
        self, post: Post, reasoning: str, entities: Sequence[GroundedEntity], demos: Sequence[Mapping[str, Any]]
    ) -> list[TuningCall]:
        """See `gmner.programs.trainable.Trainable`: one call."""
        if post.task != "gmner":
            return [related_tuning_call(post, reasoning, entities)]
        return [(self._call(post, demos), {"reasoning": reasoning, "entities": list(entities)})]

    def rollout_calls(self, posts: Sequence[Post], demos: Sequence[Mapping[str, Any]], keep: Keep) -> list[ProgramCall]:
        """See `gmner.programs.trainable.Trainable`: one call per post."""
        return [self._call(post, demos) for post in posts]

    def _call(self, post: Post, demos: Sequence[Mapping[str, Any]]) -> ProgramCall:
        if post.task != "gmner":
            return related_call(post)
        return ProgramCall(post, self.answer.signature, demos, post_inputs(post))

    def _build(self) -> None:
        self.answer = dspy.Predict(GroundEntities)

    def _answer(self, inputs: Inputs) -> Answer:
        return _with_confidences(self.answer(**inputs))

    async def _aanswer(self, inputs: Inputs) -> Answer:
        return _with_confidences(await self.answer.acall(**inputs))


def _with_confidences(result: dspy.Prediction) -> Answer:
    """Reasoning and entities; the entities have confidences if the program requested them."""
    confidences = result.get("confidences")
    if confidences is None:
        return result.reasoning, result.entities
    return result.reasoning, [replace(e, confidence=c) for e, c in zip(result.entities, confidences, strict=True)]
