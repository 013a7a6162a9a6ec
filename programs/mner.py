"""`MNER`: names and types of a post, without boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import dspy

from gmner.data.post import Post
from gmner.programs.program import Answer, GroundingProgram, Inputs
from gmner.signatures.forms import as_entity
from gmner.signatures.mentions import GroundedEntity
from gmner.signatures.tasks import NameEntities


class MNER(GroundingProgram):
    """Multimodal named entity recognition with one model call: reasoning, then names with types.

    For posts whose regions are not annotated, such as those of MNER-MI. The images help to decide what a name means; no
    entity has a box. `GMNER.extract_names` calls it with the weights of a trained `GMNER`.

    Args:
        lm: Any `dspy.LM`, see `load_vlm`; None: the one of `dspy.configure`.
        labels: The entity types: a `LabelSet`, a list of names, or a mapping name -> description.
        profile: Coordinate convention and resize rule of the model, if they cannot be inferred from its name.
        image_root: Folder that image paths must stay in; None: any local path.
        fetch: Download images that are given as URLs.
        limits: Limits of an answer: characters of reasoning, number of entities.
        **answering: `confidence`, `answers`, `temperature` and `limit_pictures`, see
            `gmner.programs.program.GroundingProgram`.

    Source: MCR (Ma et al., Findings of ACL 2026) trains on MNER-MI by reasoned extraction; the wording is ours.
    """

    bundle_name: ClassVar[str] = "MNER"
    grounds: ClassVar[bool] = False

    def example_of(self, post: Post) -> dspy.Example:
        """The DSPy example of an annotated post, with its `mentions`."""
        return dspy.Example(super().example_of(post), mentions=list(post.gold))

    def _build(self) -> None:
        self.answer = dspy.Predict(NameEntities)

    def _answer(self, inputs: Inputs) -> Answer:
        return _named(self.answer(**inputs))

    async def _aanswer(self, inputs: Inputs) -> Answer:
        return _named(await self.answer.acall(**inputs))


def _named(result: dspy.Prediction) -> Answer:
    return result.reasoning, listed_mentions(result)


def listed_mentions(result: dspy.Prediction) -> list[GroundedEntity]:
    """The mentions of an answer, without boxes; with confidences if the program requested them."""
    mentions = [as_entity(mention) for mention in result.mentions]
    confidences = result.get("confidences") or [None] * len(mentions)
    return [replace(m, confidence=c) for m, c in zip(mentions, confidences, strict=True)]
