"""`GREC`: boxes of everything that a referring expression means."""

from __future__ import annotations

from typing import Any, ClassVar

import dspy

from gmner.data.post import Post
from gmner.programs.program import Answer, GroundingProgram, Inputs
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import expression_entity
from gmner.signatures.tasks import GroundExpression


class GREC(GroundingProgram):
    """Generalized referring expression comprehension with one model call: reasoning, then boxes.

    `text` is the expression; it can refer to nothing that the image shows, to one thing or to several. The answer is a
    single entity, as `read_grec` reads them: its span is the expression, its type `EXPRESSION`, and its boxes are `box`
    and `more_boxes`. `GMNER.ground_expression` calls it with the weights of a trained `GMNER`.

    Args:
        lm: Any `dspy.LM`, see `load_vlm`; None: the one of `dspy.configure`.
        labels: Not used here; `with_task` passes them on.
        profile: Coordinate convention and resize rule of the model, if they cannot be inferred from its name.
        image_root: Folder that image paths must stay in; None: any local path.
        fetch: Download images that are given as URLs.
        limits: Limits of an answer: characters of reasoning, number of boxes.
        **answering: `limit_pictures`, see `gmner.programs.program.GroundingProgram`.

    Raises:
        InputError: `confidence` or several `answers` are requested.

    Source: MCR (Ma et al., Findings of ACL 2026) trains on GREC by reasoned verification and grounding; the wording is
    ours. The task is that of He et al., "GREC: Generalized Referring Expression Comprehension", 2023.
    """

    bundle_name: ClassVar[str] = "GREC"
    names_entities: ClassVar[bool] = False

    def check_answering(self) -> None:
        """Check the settings that may be changed after the program was created.

        Raises:
            InputError: `confidence` or several `answers` are requested.
        """
        super().check_answering()
        if self.confidence or self.answers > 1:
            received = f"confidence={self.confidence}, answers={self.answers}"
            remedy = "Leave out confidence and answers"
            raise InputError("GREC has neither confidences nor votes", received=received, remedy=remedy)

    def example_of(self, post: Post) -> dspy.Example:
        """The DSPy example of an annotated expression, with its `boxes`."""
        return dspy.Example(super().example_of(post), boxes=[box for entity in post.gold for box in entity.boxes])

    def _build(self) -> None:
        self.answer = dspy.Predict(GroundExpression)

    def _answer(self, inputs: Inputs) -> Answer:
        return _grounded(inputs["text"], self.answer(**inputs))

    async def _aanswer(self, inputs: Inputs) -> Answer:
        return _grounded(inputs["text"], await self.answer.acall(**inputs))


def _grounded(text: str, result: Any) -> Answer:
    return result.reasoning, [expression_entity(text, result.boxes)]
