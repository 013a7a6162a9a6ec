"""Leaves out posts and rows that exceed the context of the model that is trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from gmner.data.images.opening import image_size
from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.optimizers.training.program_calls import post_inputs
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.engine.generation import FREE_TEXT_TOKENS
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.related_tasks import learned_tasks, related_call
from gmner.programs.trainable import Trainable
from gmner.signatures.boxes import Size
from gmner.signatures.errors import ImageError
from gmner.signatures.mentions import Task
from gmner.signatures.tasks import SEVERAL, picture_caption

LOG = logging.getLogger(__name__)

_TURN = 64
# Upper bound of the bytes that a chat template adds to a message.
_CAPTION, _NOTE = len(picture_caption(10**6)), len(SEVERAL) + _TURN
# The same of the text for each image of a post with several, and of the line about them in the system message.
_NAMED = 5


def within_context(
    posts: Sequence[Post], program: Trainable, engine: VLMEngine, *, answer: int = FREE_TEXT_TOKENS
) -> list[Post]:
    """Return the posts whose prompt leaves room for the answer, and log a warning that names the others.

    A prompt has at most as many tokens as bytes; it is encoded only if this bound does not already show that it fits.

    Args:
        posts: Training posts.
        program: The program; its first call for a post is measured, with the demonstrations.
        engine: The engine whose weights are trained.
        answer: Maximum number of tokens of an answer, such as `CVO.max_completion_length`; at least `FREE_TEXT_TOKENS`
            are reserved.
    """
    context = engine.weights.context
    if context is None:
        return list(posts)
    room = max(answer, FREE_TEXT_TOKENS)
    most, lengths = context - room, _Lengths(program, ChatEncoder(engine.processor))
    long = {post.id: width for post in posts if (width := lengths.of(post, most)) > most}
    if long:
        LOG.warning(
            "%d posts are skipped in training, because prompt and %d tokens of answer exceed the model's context of "
            "%d tokens: %s",
            len(long), room, context, _named(long),
        )  # fmt: skip
    return [post for post in posts if post.id not in long]


def _named(widths: Mapping[str, int]) -> str:
    named = ", ".join(f"{name} ({width} tokens)" for name, width in list(widths.items())[:_NAMED])
    return named + (", ..." if len(widths) > _NAMED else "")


class RowLengths:
    """Compares training rows (a prompt with its answer) with the context length of a model.

    Args:
        engine: The engine whose weights are trained; None: every row fits.

    Attributes:
        context: Maximum number of tokens of prompt and answer together; None: not known.
        long: Post id -> number of tokens of its longest row that did not fit.
    """

    def __init__(self, engine: VLMEngine | None) -> None:
        self.context = None if engine is None else engine.weights.context
        self.long: dict[str, int] = {}
        self._widths = None if engine is None else _Widths(ChatEncoder(engine.processor))

    def fits(self, post_id: str, dialogue: Sequence[Mapping[str, Any]], answer: str) -> bool:
        """Whether a row fits; if not, it is recorded in `long`.

        Args:
            post_id: The id of its post.
            dialogue: The prompt, with images.
            answer: The text of the answer.
        """
        widths, context = self._widths, self.context
        if widths is None or context is None:
            return True
        if sum(map(widths.bound, dialogue)) + len(answer.encode("utf-8", "replace")) + _TURN <= context:
            return True
        width = widths.of(list(dialogue)) + widths.answer(answer)
        if width > context:
            self.long[post_id] = max(width, self.long.get(post_id, 0))
        return width <= context

    def fact(self) -> str:
        """A sentence that names the rows that did not fit, with the lengths; empty if all rows fit."""
        if not self.long:
            return ""
        posts = counted(len(self.long), "post", "posts")
        return (
            f"The prompt and the written answer of {posts} exceed the model's context of {self.context} tokens: "
            f"{_named(self.long)}"
        )

    def warn(self) -> None:
        """Log a warning that names the rows that did not fit."""
        if self.long:
            LOG.warning("%s; they are skipped in training", self.fact())


class _Lengths:
    """Measures the prompts of a program in tokens."""

    def __init__(self, program: Trainable, encoder: ChatEncoder) -> None:
        self._adapter, self._widths, self._root = program.adapter(), _Widths(encoder), program.image_root
        self._program, self._fixed = program, dict[Task, int]()

    def of(self, post: Post, most: int) -> int:
        """The number of tokens of a post's prompt, or an upper bound if that is at most `most`."""
        try:
            sizes = [image_size(image, root=self._root) for image in post.images]
        except ImageError:  # raised again when the image is opened
            return 0
        images = sum(map(self._widths.image, sizes)) + (_CAPTION * len(sizes) + _NOTE if len(sizes) > 1 else 0)
        bound = self._without(post) + len(post.text.encode("utf-8", "replace")) + images
        if bound <= most:
            return bound
        return self._widths.of(self._adapter.dialogue(*self._asked(post), post_inputs(post)))

    def _asked(self, post: Post) -> tuple[Any, list[Any]]:
        """The signature and the demonstrations of the first call for a post."""
        if post.task != "gmner" and post.task in learned_tasks(self._program):
            call = related_call(post)
            return call.signature, list(call.demos)
        predictor = self._program.predictors()[0]
        return predictor.signature, list(predictor.demos)

    def _without(self, post: Post) -> int:
        """Upper bound of the number of tokens of a prompt without text and images, which depends only on the task."""
        if post.task not in self._fixed:
            messages = self._adapter.dialogue(*self._asked(post), {"text": "", "image": None})
            self._fixed[post.task] = sum(map(self._widths.bound, messages))
        return self._fixed[post.task]


class _Widths:
    """Counts the tokens that one processor makes of messages and images."""

    def __init__(self, encoder: ChatEncoder) -> None:
        self._encoder = encoder
        self._images: dict[Size, int] = {}

    def bound(self, message: Mapping[str, Any]) -> int:
        """Upper bound of the number of tokens of a message."""
        parts = message["content"]
        texts = sum(len(part["text"].encode("utf-8", "replace")) for part in parts if part["type"] == "text")
        return _TURN + texts + sum(self.image(part["image"].size) for part in parts if part["type"] == "image")

    def image(self, size: Size) -> int:
        """The number of tokens of an image, which depends only on its size."""
        if size not in self._images:
            text = {"type": "text", "text": "."}
            chat = [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", size)}, text]}]
            self._images[size] = self.of(chat)
        return self._images[size]

    def of(self, conversation: list[Any]) -> int:
        """The number of tokens of a prompt."""
        return int(self._encoder([conversation])["attention_mask"].sum())

    def answer(self, text: str) -> int:
        """The number of tokens of an answer, end token included."""
        return len(self._encoder.tokenizer.encode(text, add_special_tokens=False)) + 1
