"""The calls of a staged program that are trained, each with the results of the program's other calls."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

import dspy
from tqdm import tqdm

from gmner.data.post import Post
from gmner.programs.answering import AnsweringProgram
from gmner.programs.call_column import call_column
from gmner.programs.error_causes import own_error
from gmner.programs.trainable import ProgramCall, TuningCall, post_inputs
from gmner.signatures.boxes import Box
from gmner.signatures.forms import as_box, box_data
from gmner.signatures.mentions import GroundedEntity, Mention
from gmner.signatures.wire import Frame

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trace:
    """The results of all stages for every mention of a post, also of stages that the program would skip.

    Attributes:
        named: Number of `mentions` that the first stage extracted.
        mentions: The extracted mentions in the order of the answer, followed by further mentions.
        visible: The verdict on each mention.
        boxes: The box of each mention whatever its verdict, pixels of the original image; None: no box.
    """

    named: int
    mentions: tuple[Mention, ...]
    visible: tuple[bool, ...]
    boxes: tuple[Box | None, ...]


class Staged(AnsweringProgram, Protocol):
    """A program with three predictors, each with its own signature; see `StagedGMNER`."""

    extract: dspy.Predict
    verify: dspy.Predict
    ground: dspy.Predict

    def trace(self, text: str, images: Sequence[Any] = (), also: Sequence[Mention] = ()) -> Trace:
        """Run all three stages for every mention."""


def staged_tuning_calls(
    program: Staged, post: Post, reasoning: str, entities: Sequence[GroundedEntity]
) -> list[TuningCall]:
    """The calls that a chain is trained on: one extracts all mentions, one verifies each, one grounds each shown one.

    The chain is the evidence of the verifications.
    """
    calls: list[TuningCall] = [(extract_call(program, post), {"mentions": list(entities)})]
    for mention in entities if post.images else ():
        verdict = {"evidence": reasoning, "visible": mention.visible}
        calls.append((mention_call(program, "verify", post, mention), verdict))
        if mention.visible:
            calls.append((mention_call(program, "ground", post, mention), {"box": mention.box}))
    return calls


def extract_call(program: Staged, post: Post) -> ProgramCall:
    """The first call for a post."""
    return ProgramCall(post, program.extract.signature, program.extract.demos, post_inputs(post))


def mention_call(program: Staged, stage: Literal["verify", "ground"], post: Post, mention: Mention) -> ProgramCall:
    """A later call, for one mention of a post."""
    predictor = program.verify if stage == "verify" else program.ground
    return ProgramCall(post, predictor.signature, predictor.demos, {**post_inputs(post), "mention": mention})


def staged_calls(program: Staged, posts: Sequence[Post], traces: Mapping[str, Trace]) -> list[ProgramCall]:
    """Every call of a staged program for some posts, each with the results of the other calls.

    There is one call per post that extracts mentions, one per extracted mention that verifies it, and one per extracted
    mention that is shown according to the program or the gold annotation and is grounded.

    Args:
        program: The program.
        posts: Annotated posts; posts without a trace are skipped.
        traces: Post id -> results of the program for each mention, including gold mentions; see `traced`.
    """
    adapter, calls = program.adapter(), []
    for post in posts:
        if post.id not in traces:
            continue
        trace = traces[post.id]
        frame = adapter.request(post_inputs(post)).frame
        known, shown = _known(trace, frame), _shown(post)
        column = partial(call_column, mentions=known, named=trace.named, several=frame.several)
        calls.append(replace(extract_call(program, post), rest=column("extract", 0)))
        for place, mention in enumerate(trace.mentions[: trace.named] if post.images else ()):
            calls.append(replace(mention_call(program, "verify", post, mention), rest=column("verify", place)))
            if trace.visible[place] or mention.key in shown:
                calls.append(replace(mention_call(program, "ground", post, mention), rest=column("ground", place)))
    return calls


def _shown(post: Post) -> set[tuple[int, int]]:
    return {entity.key for entity in post.gold if entity.visible}


def _known(trace: Trace, frame: Frame) -> list[dict[str, Any]]:
    return [
        {
            "span": mention.span, "type": mention.type, "start": mention.start, "end": mention.end,
            "visible": visible and box is not None, **frame.region(box),
        }
        for mention, visible, box in zip(trace.mentions, trace.visible, trace.boxes, strict=True)
    ]  # fmt: skip


def traced(
    program: Staged, posts: Sequence[Post], *, threads: int = 16, progress: bool = True
) -> list[dict[str, Any] | None]:
    """Run all stages of a staged program for every extracted mention and every gold mention of some posts.

    Args:
        program: The program.
        posts: Annotated posts.
        threads: Number of posts processed at once.
        progress: Show a progress bar.

    Returns:
        One trace per post as JSON data, see `trace_of`; None if a call failed.
    """

    def trace_post(post: Post) -> dict[str, Any] | None:
        try:
            return _record(program.trace(post.text, post.images, post.gold))
        except Exception as error:
            if own_error(error) is None:
                raise
            return None

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(copy_context().run, trace_post, post) for post in posts]
        try:
            records = [f.result() for f in tqdm(futures, desc="calls", unit="post", disable=not progress)]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    failed = records.count(None)
    if failed:
        LOG.warning("%d of %d posts are not used for training: the program failed on them", failed, len(posts))
    return records


def _record(trace: Trace) -> dict[str, Any]:
    mentions = [asdict(Mention(m.span, m.start, m.end, m.type)) for m in trace.mentions]
    boxes = [None if box is None else box_data(box) for box in trace.boxes]
    return {"named": trace.named, "mentions": mentions, "visible": list(trace.visible), "boxes": boxes}


def trace_of(record: Mapping[str, Any]) -> Trace:
    """A trace from the data that `traced` returns."""
    mentions = tuple(Mention(**mention) for mention in record["mentions"])
    boxes = tuple(map(as_box, record["boxes"]))
    return Trace(record["named"], mentions, tuple(record["visible"]), boxes)
