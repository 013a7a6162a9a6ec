"""Rows for TRL, written by the prompt adapter: what training sees is what inference sends."""

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
from gmner.optimizers.training.lengths import RowLengths, within_context
from gmner.optimizers.training.program_calls import post_inputs
from gmner.optimizers.training.trainable import trainable_engine
from gmner.programs.adapter import Message, PromptAdapter
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.trainable import ProgramCall, Trainable, TuningCall
from gmner.signatures.errors import InputError
from gmner.signatures.forms import as_entity

LOG = logging.getLogger(__name__)

_PARTS = List({"type": Value("string"), "text": Value("string")})
_CHAT = List({"role": Value("string"), "content": _PARTS})


def usable_posts(posts: Sequence[Post], encoder: ChatEncoder) -> list[Post]:
    """Posts that a trainer reads as inference does: without a chat marker of the model in their text.

    The engine keeps such markers data; TRL's tokenisation would take them for control. They are left out, and said.
    """
    kept = [post for post in posts if not encoder.markers(post.text)]
    if len(kept) < len(posts):
        LOG.warning("%d posts with chat markers in their text are not trained on", len(posts) - len(kept))
    return kept


def fitting_posts(posts: Sequence[Post], program: Trainable, answer: int) -> list[Post]:
    """The posts that a program's weights can be trained on: see `usable_posts` and `within_context`; else all.

    Args:
        posts: Annotated posts.
        program: The program.
        answer: Most tokens of an answer.
    """
    engine = trainable_engine(program.model)
    if engine is None:
        return list(posts)
    return within_context(usable_posts(posts, ChatEncoder(engine.processor)), program, engine, answer=answer)


def split_pictures(messages: Sequence[Message]) -> tuple[list[Message], list[Any]]:
    """A dialogue as TRL takes it: messages with bare picture parts, and the pictures in order."""
    pictures = [part["image"] for message in messages for part in message["content"] if part["type"] == "image"]
    bare = [
        {"role": m["role"], "content": [{"type": p["type"], "text": p.get("text")} for p in m["content"]]}
        for m in messages
    ]
    return bare, pictures


def tuning_rows(
    chains: Sequence[Chain],
    posts: Mapping[str, Post],
    adapter: PromptAdapter,
    signature: type[dspy.Signature],
    demos: Sequence[Mapping[str, Any]],
    engine: VLMEngine | None = None,
) -> Dataset:
    """One row a chain for TRL's SFTTrainer: `prompt`, `completion` (chat) and `images`.

    Args:
        chains: Chains with their answers.
        posts: The posts by id.
        adapter: The adapter that will be used at inference.
        signature: The end-to-end signature with its current instructions.
        demos: The demonstrations that will be sent at inference; a post that is one of them is asked without itself,
            whose answer would stand in its own prompt.
        engine: The engine whose weights are trained: rows beyond its context are left out, and named. None: all rows.

    Raises:
        InputError: No row is left.
    """
    asked = [_whole(chain, posts[chain.post_id], signature, demos) for chain in chains]
    return _tuning_table(asked, adapter, engine)


def program_rows(
    program: Trainable,
    chains: Sequence[Chain],
    posts: Mapping[str, Post],
    adapter: PromptAdapter,
    demos: Sequence[Mapping[str, Any]],
) -> Dataset:
    """The rows of `tuning_rows` for a program; of a staged one a row for every call that each chain answers.

    Then its mentions are extracted; each is verified, with the chain as evidence; each that is shown is grounded. Rows
    beyond the context of the program's local model are left out, and named.

    Args:
        program: The program that is trained.
        chains: Chains with their answers.
        posts: The posts by id.
        adapter: The adapter that will be used at inference.
        demos: The demonstrations of a program that answers at once; a staged one has its own.

    Raises:
        InputError: No row is left.
    """
    return _tuning_table(_asked(program, chains, posts, demos), adapter, trainable_engine(program.model))


def check_rows_fit(
    program: Trainable, chains: Sequence[Chain], posts: Mapping[str, Post], demos: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Refuse chains whose rows are longer than the context of the program's local model; see `program_rows`.

    Raises:
        InputError: The fact names the first posts, their tokens and the context.
    """
    lengths, adapter = RowLengths(trainable_engine(program.model)), program.adapter()
    if lengths.context is None:
        return
    for call, answer in _asked(program, chains, posts, demos):
        lengths.fits(call.post.id, *_written(call, answer, adapter))
    if lengths.long:
        remedy = "Leave these posts out, or have shorter chains written"
        raise InputError(lengths.fact(), accepted=f"{lengths.context} tokens together", remedy=remedy)


def _asked(
    program: Trainable, chains: Sequence[Chain], posts: Mapping[str, Post], demos: Sequence[Mapping[str, Any]]
) -> list[TuningCall]:
    """The calls of a program that chains answer."""
    asked: list[TuningCall] = []
    for chain in chains:
        gold = [as_entity(entity) for entity in chain.entities]
        asked += program.tuning_calls(posts[chain.post_id], chain.reasoning, gold, demos)
    return asked


def _whole(chain: Chain, post: Post, signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]]) -> TuningCall:
    """The one call of a program that answers at once."""
    call = ProgramCall(post, signature, demos, post_inputs(post))
    return call, {"reasoning": chain.reasoning, "entities": list(chain.entities)}


def _tuning_table(asked: Sequence[TuningCall], adapter: PromptAdapter, engine: VLMEngine | None) -> Dataset:
    """A row for every call that fits the context."""
    rows, lengths = [], RowLengths(engine)
    for call, answer in asked:
        dialogue, text = _written(call, answer, adapter)
        if lengths.fits(call.post.id, dialogue, text):
            prompt, pictures = split_pictures(dialogue)
            completion = [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
            rows.append({"prompt": prompt, "completion": completion, "images": pictures})
    lengths.warn()
    return _table(rows, {"prompt": _CHAT, "completion": _CHAT})


def _written(call: ProgramCall, answer: Mapping[str, Any], adapter: PromptAdapter) -> tuple[list[Message], str]:
    """The prompt of a call, and its answer; a demonstration of the same post would have that answer in the prompt."""
    others = [demo for demo in call.demos if demo["text"] != call.inputs["text"]]
    dialogue = adapter.dialogue(call.signature, others, call.inputs)
    return dialogue, adapter.answer(call.signature, {**call.inputs, **answer})


def rollout_rows(calls: Sequence[ProgramCall], adapter: PromptAdapter, columns: Sequence[Mapping[str, Any]]) -> Dataset:
    """One row a call for TRL's GRPOTrainer: `prompt`, `images` and the columns that the rewards read.

    Args:
        calls: The calls that are asked.
        adapter: The adapter that will be used at inference.
        columns: The rewards' columns, one mapping a call; see `gmner.optimizers.rewards.reward_columns`.
    """
    rows = []
    for call, extra in zip(calls, columns, strict=True):
        prompt, pictures = split_pictures(adapter.dialogue(call.signature, call.demos, call.inputs))
        rows.append({"prompt": prompt, "images": pictures, **extra})
    return _table(rows, {"prompt": _CHAT})


def _table(rows: list[dict[str, Any]], chat: dict[str, Any]) -> Dataset:
    """A table of rows; without an `images` column where no row has a picture."""
    if not rows:
        raise InputError("There is nothing to train on", received=[], remedy="Give more training posts")
    if not any(row["images"] for row in rows):
        rows = [{k: v for k, v in row.items() if k != "images"} for row in rows]
    else:
        files = _Files()
        rows = [{**row, "images": [files.of(picture) for picture in row["images"]]} for row in rows]
    plain = Dataset.from_list([{k: v for k, v in row.items() if k not in ("images", *chat)} for row in rows])
    features = Features({**plain.features, **chat, **({"images": List(Image())} if "images" in rows[0] else {})})
    return Dataset.from_list(rows, features=features)


class _Files:
    """Pictures as `datasets` keeps them, each written once however many rows show it: most of a table's time."""

    def __init__(self) -> None:
        self._written: dict[bytes, dict[str, Any]] = {}

    def of(self, picture: PILImage.Image) -> dict[str, Any]:
        """The bytes of a picture's file."""
        key = hashlib.sha256(repr((picture.mode, picture.size)).encode() + picture.tobytes()).digest()
        if key not in self._written:
            self._written[key] = {"bytes": encoded(picture, quick=True)[0], "path": None}
        return self._written[key]
