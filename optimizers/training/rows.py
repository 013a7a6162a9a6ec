"""Training rows for TRL, written by the prompt adapter: training uses the prompts of inference, byte for byte."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from gmner.data.files.atomic import encoded
from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.rewards.judgement import MORE_SIZES, TASK
from gmner.optimizers.training.lengths import RowLengths, within_context
from gmner.optimizers.training.program_calls import post_inputs
from gmner.optimizers.training.trainable import trainable_engine
from gmner.programs.adapter import Message, PromptAdapter
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.models.thinking_templates import answer_lead
from gmner.programs.trainable import ProgramCall, Trainable, TuningCall
from gmner.signatures.errors import InputError
from gmner.signatures.forms import as_entity

LOG = logging.getLogger(__name__)

_PARTS = List({"type": Value("string"), "text": Value("string")})
_FEW = {MORE_SIZES: "", TASK: "gmner", "call": ""}
"""Columns that only some rows need, with their values for the others."""

_CHAT = List({"role": Value("string"), "content": _PARTS})


def usable_posts(posts: Sequence[Post], encoder: ChatEncoder) -> list[Post]:
    """Return the posts whose text has no chat marker of the model, and log a warning if others are left out.

    The engine encodes such markers as text, but TRL would encode them as control tokens.
    """
    kept = [post for post in posts if not encoder.markers(post.text)]
    if len(kept) < len(posts):
        LOG.warning(
            "%d posts are skipped in training, because their text contains chat markers", len(posts) - len(kept)
        )
    return kept


def fitting_posts(posts: Sequence[Post], program: Trainable, answer: int) -> list[Post]:
    """The posts on which a program's weights can be trained, see `usable_posts` and `within_context`.

    Args:
        posts: Annotated posts. All of them are returned if the program has no local model.
        program: The program.
        answer: Maximum number of tokens of an answer.
    """
    engine = trainable_engine(program.model)
    if engine is None:
        return list(posts)
    return within_context(usable_posts(posts, ChatEncoder(engine.processor)), program, engine, answer=answer)


def split_pictures(messages: Sequence[Message]) -> tuple[list[Message], list[Any]]:
    """Split a dialogue as TRL expects it: messages with placeholders for images, and the images in order."""
    images = [part["image"] for message in messages for part in message["content"] if part["type"] == "image"]
    bare = [
        {"role": m["role"], "content": [{"type": p["type"], "text": p.get("text")} for p in m["content"]]}
        for m in messages
    ]
    return bare, images


def tuning_rows(
    chains: Sequence[Chain],
    posts: Mapping[str, Post],
    adapter: PromptAdapter,
    signature: type[dspy.Signature],
    demos: Sequence[Mapping[str, Any]],
    engine: VLMEngine | None = None,
) -> Dataset:
    """Create a row for each chain, for TRL's SFTTrainer: `prompt`, `completion` (chat) and `images`.

    Args:
        chains: Chains with their answers.
        posts: The posts by id.
        adapter: The adapter that will be used at inference.
        signature: The end-to-end signature with its current instructions.
        demos: The demonstrations that will be used at inference. A demonstration is left out of the prompt of its own
            post, which would contain the answer.
        engine: The engine whose weights are trained; a warning names the rows that exceed its context, and they are
            left out. None: all rows are kept.

    Raises:
        InputError: No row is left.
    """
    calls = [_single_call(chain, posts[chain.post_id], signature, demos) for chain in chains]
    return _tuning_table(calls, adapter, engine)


def program_rows(
    program: Trainable,
    chains: Sequence[Chain],
    posts: Mapping[str, Post],
    adapter: PromptAdapter,
    demos: Sequence[Mapping[str, Any]],
) -> Dataset:
    """The rows of `tuning_rows` for a program; a staged program has a row for each of its calls.

    The calls of a staged program extract the mentions of a post, verify each mention with the chain as evidence, and
    ground each mention that is shown. Rows that exceed the context of the program's local model are left out with a
    warning.

    Args:
        program: The program that is trained.
        chains: Chains with their answers.
        posts: The posts by id.
        adapter: The adapter that will be used at inference.
        demos: The demonstrations of a program that answers in one call; a staged one has its own.

    Raises:
        InputError: No row is left.
    """
    return _tuning_table(_answered_calls(program, chains, posts, demos), adapter, trainable_engine(program.model))


def check_rows_fit(
    program: Trainable, chains: Sequence[Chain], posts: Mapping[str, Post], demos: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Check that the rows of chains fit the context of the program's local model; see `program_rows`.

    Raises:
        InputError: A row does not fit; the message names the first such posts and their lengths.
    """
    lengths, adapter = RowLengths(trainable_engine(program.model)), program.adapter()
    if lengths.context is None:
        return
    for call, answer in _answered_calls(program, chains, posts, demos):
        lengths.fits(call.post.id, *_texts_of(call, answer, adapter))
    if lengths.long:
        remedy = "Leave these posts out, or write shorter chains"
        raise InputError(lengths.fact(), accepted=f"{lengths.context} tokens together", remedy=remedy)


def _answered_calls(
    program: Trainable, chains: Sequence[Chain], posts: Mapping[str, Post], demos: Sequence[Mapping[str, Any]]
) -> list[TuningCall]:
    """The calls of a program, with the answers that chains give to them."""
    calls: list[TuningCall] = []
    for chain in chains:
        gold = [as_entity(entity) for entity in chain.entities]
        calls += program.tuning_calls(posts[chain.post_id], chain.reasoning, gold, demos)
    return calls


def _single_call(
    chain: Chain, post: Post, signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]]
) -> TuningCall:
    """The call of a program that answers a post in one call."""
    call = ProgramCall(post, signature, demos, post_inputs(post))
    return call, {"reasoning": chain.reasoning, "entities": list(chain.entities)}


def _tuning_table(calls: Sequence[TuningCall], adapter: PromptAdapter, engine: VLMEngine | None) -> Dataset:
    """A table with a row for each call that fits the context."""
    rows, lengths = [], RowLengths(engine)
    lead = "" if engine is None else answer_lead(engine.processor, engine.weights.thinking)
    for call, answer in calls:
        dialogue, text = _texts_of(call, answer, adapter)
        if lengths.fits(call.post.id, dialogue, text):
            prompt, images = split_pictures(dialogue)
            completion = [{"role": "assistant", "content": [{"type": "text", "text": lead + text}]}]
            rows.append({"prompt": prompt, "completion": completion, "images": images})
    lengths.warn()
    return _table(rows, {"prompt": _CHAT, "completion": _CHAT})


def _texts_of(call: ProgramCall, answer: Mapping[str, Any], adapter: PromptAdapter) -> tuple[list[Message], str]:
    """The prompt and the answer of a call, without a demonstration of the same post, which would contain the answer."""
    others = [demo for demo in call.demos if demo["text"] != call.inputs["text"]]
    dialogue = adapter.dialogue(call.signature, others, call.inputs)
    return dialogue, adapter.answer(call.signature, {**call.inputs, **answer})


def rollout_rows(calls: Sequence[ProgramCall], adapter: PromptAdapter, columns: Sequence[Mapping[str, Any]]) -> Dataset:
    """Create a row for each call, for TRL's GRPOTrainer: `prompt`, `images` and the columns that the rewards use.

    Args:
        calls: The calls of the program.
        adapter: The adapter that will be used at inference.
        columns: The columns of the rewards, one mapping for each call; see `gmner.optimizers.rewards.reward_columns`.
    """
    # A table has the same columns in every row.
    few = {name: value for name, value in _FEW.items() if any(name in extra for extra in columns)}
    rows = []
    for call, extra in zip(calls, columns, strict=True):
        prompt, images = split_pictures(adapter.dialogue(call.signature, call.demos, call.inputs))
        rows.append({"prompt": prompt, "images": images, **few, **extra})
    return _table(rows, {"prompt": _CHAT})


def _table(rows: list[dict[str, Any]], chat: dict[str, Any]) -> Dataset:
    """Convert rows to a table, without the column `images` if no row has an image."""
    if not rows:
        raise InputError("No training row is left", received=[], remedy="Pass more training posts")
    if not any(row["images"] for row in rows):
        rows = [{k: v for k, v in row.items() if k != "images"} for row in rows]
    else:
        files = _Files()
        rows = [{**row, "images": [files.of(image) for image in row["images"]]} for row in rows]
    others = Dataset.from_list([{k: v for k, v in row.items() if k not in ("images", *chat)} for row in rows])
    features = Features({**others.features, **chat, **({"images": List(Image())} if "images" in rows[0] else {})})
    return Dataset.from_list(rows, features=features)


class _Files:
    """Encodes images as `datasets` stores them; an image in several rows is encoded once, which takes the most time."""

    def __init__(self) -> None:
        self._written: dict[bytes, dict[str, Any]] = {}

    def of(self, image: PILImage.Image) -> dict[str, Any]:
        """The bytes of an image's file."""
        key = hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).digest()
        if key not in self._written:
            self._written[key] = {"bytes": encoded(image, quick=True)[0], "path": None}
        return self._written[key]
