"""`StagedGMNER`: extract, verify, ground, each a question of its own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any

import dspy

from gmner.programs.program import GroundingProgram
from gmner.signatures.forms import as_entity
from gmner.signatures.mentions import GroundedEntity, Mention
from gmner.signatures.tasks import ExtractMentions, GroundMention, VerifyVisibility


class StagedGMNER(GroundingProgram):
    """Grounded multimodal named entity recognition in three stages.

    One call names the mentions; then all are verified at once; then those that are shown are grounded at once. On the
    local engine the calls of a stage make one batch. A mention that is verified but for which no box is found is not
    shown.
    """

    def _build(self) -> None:
        self.extract = dspy.Predict(ExtractMentions)
        self.verify = dspy.Predict(VerifyVisibility)
        self.ground = dspy.Predict(GroundMention)

    def _answer(self, text: str, image: dspy.Image | None) -> tuple[str, Sequence[GroundedEntity]]:
        mentions: list[Mention] = self.extract(text=text, image=image).mentions
        if image is None:
            return "", [as_entity(mention) for mention in mentions]
        asked = [{"text": text, "image": image, "mention": mention} for mention in mentions]
        verdicts = _together(self.verify, asked)
        shown = [inputs for inputs, verdict in zip(asked, verdicts, strict=True) if verdict.visible]
        boxes = iter(_together(self.ground, shown))
        entities = [
            replace(as_entity(mention), box=next(boxes).box if verdict.visible else None)
            for mention, verdict in zip(mentions, verdicts, strict=True)
        ]
        lines = [f"{m.span}: {v.evidence}" for m, v in zip(mentions, verdicts, strict=True)]
        return "\n".join(lines), entities


def _together(predict: dspy.Predict, inputs: Sequence[dict[str, Any]]) -> list[Any]:
    """Call a predictor on several inputs at once, in order; the first error is raised."""
    if len(inputs) < 2:
        return [predict(**values) for values in inputs]
    with ThreadPoolExecutor(len(inputs)) as pool:
        futures = [pool.submit(copy_context().run, partial(predict, **values)) for values in inputs]
        return [future.result() for future in futures]
