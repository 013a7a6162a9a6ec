"""`RelatedTasks`: a program for GMNER also finds names alone, and grounds referring expressions."""

from __future__ import annotations

from collections.abc import Sequence

from gmner.programs.grec import GREC
from gmner.programs.grounded_post import GroundedPost
from gmner.programs.mner import MNER
from gmner.programs.program import GroundingProgram, Picture


class RelatedTasks(GroundingProgram):
    """Base class of `GMNER` and `StagedGMNER`, which answer the related tasks with the same weights."""

    def extract_names(self, text: str, image: Picture = None, images: Sequence[Picture] | None = None) -> GroundedPost:
        """Find the names of a post and their types, without boxes, with the weights of this program; see `MNER`.

        Arguments and errors are those of `GroundingProgram.forward`.
        """
        program = self.with_task(MNER)
        answer: GroundedPost = program(text=text, image=image, images=images)
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
        program = self.with_task(GREC)
        program.confidence, program.answers = False, 1
        answer: GroundedPost = program(text=expression, image=image, images=images)
        return answer
