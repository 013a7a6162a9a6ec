"""`StagedGMNER`: extract, verify, ground, each a question of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import dspy

from gmner.data.post import Post
from gmner.programs.program import Answer, GroundingProgram, Picture
from gmner.programs.staged_calls import Trace, staged_calls, staged_tuning_calls, trace_of, traced
from gmner.programs.trainable import Keep, ProgramCall, TuningCall
from gmner.signatures.forms import as_entity
from gmner.signatures.mentions import GroundedEntity, Mention, unique_mentions
from gmner.signatures.tasks import ExtractMentions, GroundMention, VerifyVisibility


class StagedGMNER(GroundingProgram):
    """Grounded multimodal named entity recognition in three stages.

    One call names the mentions; then all are verified at once; then those that are shown are grounded at once. On the
    local engine the calls of a stage make one batch. A mention that is verified but for which no box is found is not
    shown.
    """

    bundle_name: ClassVar[str] = "StagedGMNER"

    whole_answers = False

    @property
    def demonstrations(self) -> list[Any]:
        """No demonstrations: no call gives a whole answer."""
        return []

    def set_demonstrations(self, demos: Sequence[Any]) -> None:
        """Keep the demonstrations of the three predictors: these are of whole answers."""

    def tuning_calls(
        self, post: Post, reasoning: str, entities: Sequence[GroundedEntity], demos: Sequence[Mapping[str, Any]]
    ) -> list[TuningCall]:
        """See `Trainable`; `demos` are not sent: every call has its own."""
        return staged_tuning_calls(self, post, reasoning, entities)

    def rollout_calls(self, posts: Sequence[Post], demos: Sequence[Mapping[str, Any]], keep: Keep) -> list[ProgramCall]:
        """See `Trainable`; a post that the program cannot answer is left out."""
        found = zip(posts, keep(partial(traced, self)), strict=True)
        return staged_calls(self, posts, {post.id: trace_of(said) for post, said in found if said is not None})

    def _build(self) -> None:
        self.extract = dspy.Predict(ExtractMentions)
        self.verify = dspy.Predict(VerifyVisibility)
        self.ground = dspy.Predict(GroundMention)

    def _answer(self, text: str, image: dspy.Image | None) -> Answer:
        mentions = _named(self.extract(text=text, image=image))
        asked = _questions(text, image, mentions)
        verdicts = _together(self.verify, asked)
        return _put_together(mentions, verdicts, _together(self.ground, _shown(asked, verdicts)))

    async def _aanswer(self, text: str, image: dspy.Image | None) -> Answer:
        mentions = _named(await self.extract.acall(text=text, image=image))
        asked = _questions(text, image, mentions)
        verdicts = await asyncio.gather(*(self.verify.acall(**inputs) for inputs in asked))
        grounded = await asyncio.gather(*(self.ground.acall(**inputs) for inputs in _shown(asked, verdicts)))
        return _put_together(mentions, verdicts, grounded)

    def trace(self, text: str, image: Picture = None, also: Sequence[Mention] = ()) -> Trace:
        """Ask all three stages about every mention: those that the first one names, and `also` where they are others.

        Args:
            text: The text of the post.
            image: Its picture, see `forward`.
            also: Further mentions of the text.

        Raises:
            GmnerError: See `forward`.
        """
        with self._opened(text, image) as picture, self._speaking():
            named = _named(self.extract(text=text, image=picture))
            mentions = tuple(unique_mentions([*named, *map(as_entity, also)]))
            asked = _questions(text, picture, mentions)
            if not asked:
                return Trace(len(named), mentions, (False,) * len(mentions), (None,) * len(mentions))
            visible = tuple(verdict.visible for verdict in _together(self.verify, asked))
            boxes = tuple(grounded.box for grounded in _together(self.ground, asked))
            return Trace(len(named), mentions, visible, boxes)


def _named(extracted: dspy.Prediction) -> list[GroundedEntity]:
    """What the first stage names, with its confidence where it was asked for; nothing is said to be shown yet."""
    mentions = [as_entity(mention) for mention in extracted.mentions]
    sure = extracted.get("confidences") or [None] * len(mentions)
    return unique_mentions(replace(m, confidence=c) for m, c in zip(mentions, sure, strict=True))


def _questions(text: str, image: dspy.Image | None, mentions: Sequence[Mention]) -> list[dict[str, Any]]:
    """What is asked of each mention; nothing where there is no picture."""
    return [] if image is None else [{"text": text, "image": image, "mention": mention} for mention in mentions]


def _shown(asked: Sequence[dict[str, Any]], verdicts: Sequence[dspy.Prediction]) -> list[dict[str, Any]]:
    return [inputs for inputs, verdict in zip(asked, verdicts, strict=True) if verdict.visible]


def _put_together(
    mentions: Sequence[GroundedEntity], verdicts: Sequence[dspy.Prediction], grounded: Sequence[dspy.Prediction]
) -> Answer:
    """The answer from what each stage said; without verdicts, nothing is shown."""
    if not verdicts:
        return "", mentions
    boxes = iter(grounded)
    entities = [
        judged(mention, verdict, next(boxes) if verdict.visible else None)
        for mention, verdict in zip(mentions, verdicts, strict=True)
    ]
    return "\n".join(f"{m.span}: {v.evidence}" for m, v in zip(mentions, verdicts, strict=True)), entities


def judged(mention: GroundedEntity, verdict: dspy.Prediction, grounded: dspy.Prediction | None) -> GroundedEntity:
    """A mention with its box, and the confidence of the stages: that it is named, and that it is shown, or not.

    Where no box is found it is not shown after all: as likely as "not shown" was, or "shown" and then no box.
    """
    box = None if grounded is None else grounded.box
    if mention.confidence is None:
        return replace(mention, box=box)
    (sure,) = verdict.confidences
    (none,) = (0.0,) if grounded is None or box is not None else grounded.confidences
    if sure is None or none is None:
        return replace(mention, box=box, confidence=None)
    if grounded is not None and box is None:
        sure = 1 - sure + sure * none
    return replace(mention, box=box, confidence=mention.confidence * sure)


def _together(predict: dspy.Predict, inputs: Sequence[dict[str, Any]]) -> list[Any]:
    """Call a predictor on several inputs at once, in order; the first error is raised."""
    if len(inputs) < 2:
        return [predict(**values) for values in inputs]
    with ThreadPoolExecutor(len(inputs)) as pool:
        futures = [pool.submit(copy_context().run, partial(predict, **values)) for values in inputs]
        return [future.result() for future in futures]
