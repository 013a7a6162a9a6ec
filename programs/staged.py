"""`StagedGMNER`: predicts the entities of a post in three stages: extract, verify, ground."""

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
from gmner.programs.mner import listed_mentions
from gmner.programs.program import Answer, Inputs, Picture
from gmner.programs.prompt_images import picture_inputs
from gmner.programs.related_tasks import RelatedTasks, related_call, related_tuning_call
from gmner.programs.staged_calls import Trace, staged_calls, staged_tuning_calls, trace_of, traced
from gmner.programs.trainable import Keep, ProgramCall, TuningCall
from gmner.signatures.forms import as_entity
from gmner.signatures.mentions import GroundedEntity, Mention, unique_mentions
from gmner.signatures.tasks import ExtractMentions, GroundMention, VerifyVisibility


class StagedGMNER(RelatedTasks):
    """Grounded multimodal named entity recognition in three stages.

    The first call extracts the mentions. Then one call per mention verifies whether the image shows it, and one call
    per shown mention predicts its box. On the local engine, the calls of a stage form one batch. A mention that is
    verified but gets no box counts as not shown.

    Args:
        lm: Any `dspy.LM`, see `load_vlm`; None: the one of `dspy.configure`.
        labels: The entity types: a `LabelSet`, a list of names, or a mapping name -> description.
        profile: Coordinate convention and resize rule of the model, if they cannot be inferred from its name.
        image_root: Folder that image paths must stay in; None: any local path.
        fetch: Download images that are given as URLs.
        limits: Limits of an answer: characters of reasoning, number of entities.
        **answering: `confidence`, `answers`, `temperature` and `limit_pictures`, see
            `gmner.programs.program.GroundingProgram`.
    """

    bundle_name: ClassVar[str] = "StagedGMNER"

    whole_answers = False

    @property
    def demonstrations(self) -> list[Any]:
        """Always empty, because no call gives a whole answer."""
        return []

    def set_demonstrations(self, demos: Sequence[Any]) -> None:
        """Do nothing: the demonstrations of the three predictors are not whole answers."""

    def tuning_calls(
        self, post: Post, reasoning: str, entities: Sequence[GroundedEntity], demos: Sequence[Mapping[str, Any]]
    ) -> list[TuningCall]:
        """See `Trainable`; `demos` is ignored, because every predictor has its own demonstrations."""
        if post.task != "gmner":
            return [related_tuning_call(post, reasoning, entities)]
        return staged_tuning_calls(self, post, reasoning, entities)

    def rollout_calls(self, posts: Sequence[Post], demos: Sequence[Mapping[str, Any]], keep: Keep) -> list[ProgramCall]:
        """See `Trainable`; posts for which the program fails are skipped."""
        own = [post for post in posts if post.task == "gmner"]
        records = zip(own, keep(partial(traced, self), own), strict=True)
        traces = {post.id: trace_of(record) for post, record in records if record is not None}
        related = [related_call(post) for post in posts if post.task != "gmner"]
        return [*staged_calls(self, own, traces), *related]

    def _build(self) -> None:
        self.extract = dspy.Predict(ExtractMentions)
        self.verify = dspy.Predict(VerifyVisibility)
        self.ground = dspy.Predict(GroundMention)

    def _answer(self, post: Inputs) -> Answer:
        mentions = _extracted(self.extract(**post))
        inputs = _mention_inputs(post, mentions)
        verdicts = _call_all(self.verify, inputs)
        return _combined(mentions, verdicts, _call_all(self.ground, _shown(inputs, verdicts)))

    async def _aanswer(self, post: Inputs) -> Answer:
        mentions = _extracted(await self.extract.acall(**post))
        inputs = _mention_inputs(post, mentions)
        verdicts = await asyncio.gather(*(self.verify.acall(**values) for values in inputs))
        grounded = await asyncio.gather(*(self.ground.acall(**values) for values in _shown(inputs, verdicts)))
        return _combined(mentions, verdicts, grounded)

    def trace(self, text: str, images: Sequence[Picture] = (), also: Sequence[Mention] = ()) -> Trace:
        """Run all three stages for every extracted mention and for the mentions in `also`.

        Args:
            text: The text of the post.
            images: Its images, see `forward`.
            also: Further mentions of the text.

        Raises:
            GmnerError: See `forward`.
        """
        with self._opened(text, images) as pictures, self._with_adapter():
            post = {"text": text, **picture_inputs(pictures)}
            extracted = _extracted(self.extract(**post))
            mentions = tuple(unique_mentions([*extracted, *map(as_entity, also)]))
            inputs = _mention_inputs(post, mentions)
            if not inputs:
                return Trace(len(extracted), mentions, (False,) * len(mentions), (None,) * len(mentions))
            visible = tuple(verdict.visible for verdict in _call_all(self.verify, inputs))
            boxes = tuple(grounded.box for grounded in _call_all(self.ground, inputs))
            return Trace(len(extracted), mentions, visible, boxes)


def _extracted(result: dspy.Prediction) -> list[GroundedEntity]:
    """The mentions of the first stage, each place in the text once."""
    return unique_mentions(listed_mentions(result))


def _mention_inputs(post: Inputs, mentions: Sequence[Mention]) -> list[dict[str, Any]]:
    """The inputs of the later stages, one per mention; none if there is no image."""
    return [] if post["image"] is None else [{**post, "mention": mention} for mention in mentions]


def _shown(inputs: Sequence[dict[str, Any]], verdicts: Sequence[dspy.Prediction]) -> list[dict[str, Any]]:
    return [values for values, verdict in zip(inputs, verdicts, strict=True) if verdict.visible]


def _combined(
    mentions: Sequence[GroundedEntity], verdicts: Sequence[dspy.Prediction], grounded: Sequence[dspy.Prediction]
) -> Answer:
    """The answer from the results of the three stages; without verdicts, no mention is shown."""
    if not verdicts:
        return "", mentions
    boxes = iter(grounded)
    entities = [
        judged(mention, verdict, next(boxes) if verdict.visible else None)
        for mention, verdict in zip(mentions, verdicts, strict=True)
    ]
    return "\n".join(f"{m.span}: {v.evidence}" for m, v in zip(mentions, verdicts, strict=True)), entities


def judged(mention: GroundedEntity, verdict: dspy.Prediction, grounded: dspy.Prediction | None) -> GroundedEntity:
    """A mention with its box, and with the product of the confidences of its stages.

    A mention that is verified but gets no box is not shown. The confidence in this is the probability of "not shown",
    plus that of "shown" followed by "no box".
    """
    box = None if grounded is None else grounded.box
    if mention.confidence is None:
        return replace(mention, box=box)
    (confidence,) = verdict.confidences
    (no_box,) = (0.0,) if grounded is None or box is not None else grounded.confidences
    if confidence is None or no_box is None:
        return replace(mention, box=box, confidence=None)
    if grounded is not None and box is None:
        confidence = 1 - confidence + confidence * no_box
    return replace(mention, box=box, confidence=mention.confidence * confidence)


def _call_all(predict: dspy.Predict, inputs: Sequence[dict[str, Any]]) -> list[Any]:
    """Call a predictor on several inputs in parallel; returns the results in order and raises the first error."""
    if len(inputs) < 2:
        return [predict(**values) for values in inputs]
    with ThreadPoolExecutor(len(inputs)) as pool:
        futures = [pool.submit(copy_context().run, partial(predict, **values)) for values in inputs]
        return [future.result() for future in futures]
