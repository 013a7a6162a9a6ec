"""`GMNER`: one answer a post."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import dspy

from gmner.programs.program import Answer, GroundingProgram
from gmner.signatures.tasks import GroundEntities


class GMNER(GroundingProgram):
    """Grounded multimodal named entity recognition in one answer: reasoning, then every entity with type and box.

    Example:
        >>> import gmner  # doctest: +SKIP
        >>> program = gmner.GMNER(lm=gmner.load_vlm())  # doctest: +SKIP
        >>> program(text="Mira Voss cries at the speech", image="post.png").entities  # doctest: +SKIP

    Source: the task of MCR (Ma et al., Findings of ACL 2026); the answer's form is ours.
    """

    bundle_name: ClassVar[str] = "GMNER"

    def _build(self) -> None:
        self.answer = dspy.Predict(GroundEntities)

    def _answer(self, text: str, image: dspy.Image | None) -> Answer:
        return _said(self.answer(text=text, image=image))

    async def _aanswer(self, text: str, image: dspy.Image | None) -> Answer:
        return _said(await self.answer.acall(text=text, image=image))


def _said(result: dspy.Prediction) -> Answer:
    """Reasoning and entities, these with their confidence where it was asked for."""
    sure = result.get("confidences")
    if sure is None:
        return result.reasoning, result.entities
    return result.reasoning, [replace(e, confidence=c) for e, c in zip(result.entities, sure, strict=True)]
