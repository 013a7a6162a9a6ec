"""Posts that fit the context of the model that is trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from gmner.data.images import image_size
from gmner.data.post import Post
from gmner.optimizers.calls import Program, post_inputs
from gmner.programs.encoding import ChatEncoder
from gmner.programs.engine import VLMEngine
from gmner.programs.generation import FREE_TEXT_TOKENS
from gmner.signatures.boxes import Size
from gmner.signatures.errors import ImageError

LOG = logging.getLogger(__name__)

_TURN = 64
# More bytes than a chat template writes around a message.
_NAMED = 5


def within_context(posts: Sequence[Post], program: Program, engine: VLMEngine) -> list[Post]:
    """Posts whose prompt leaves the model `FREE_TEXT_TOKENS` for the answer; the others are left out, and named.

    A prompt is encoded only where its bytes, of which no token has less than one, do not show that it fits.

    Args:
        posts: Training posts.
        program: The program; its first call about a post is measured, with the demonstrations.
        engine: The engine whose weights are trained.
    """
    context = engine.weights.context
    if context is None:
        return list(posts)
    most, lengths = context - FREE_TEXT_TOKENS, _Lengths(program, ChatEncoder(engine.processor))
    long = {post.id: width for post in posts if (width := lengths.of(post, most)) > most}
    if long:
        named = ", ".join(f"{name} ({width} tokens)" for name, width in list(long.items())[:_NAMED])
        LOG.warning(
            "%d posts are not trained on: the model's context of %d tokens has no room for their prompt and %d tokens "
            "of answer: %s%s",
            len(long), context, FREE_TEXT_TOKENS, named, ", ..." if len(long) > _NAMED else "",
        )  # fmt: skip
    return [post for post in posts if post.id not in long]


class _Lengths:
    """Measures prompts of a program in tokens."""

    def __init__(self, program: Program, encoder: ChatEncoder) -> None:
        self._adapter, self._encoder, self._root = program.adapter(), encoder, program.image_root
        predictor = program.predictors()[0]
        self._signature, self._demos = predictor.signature, list(predictor.demos)
        self._pictures: dict[Size, int] = {}
        messages = self._adapter.dialogue(self._signature, self._demos, {"text": "", "image": None})
        self._fixed = sum(self._bound(message) for message in messages)

    def of(self, post: Post, most: int) -> int:
        """The tokens of a post's prompt, or an upper bound of them that is within `most`."""
        try:
            size = None if post.image is None else image_size(post.image, root=self._root)
        except ImageError:  # said where the picture is opened
            return 0
        bound = self._fixed + len(post.text.encode("utf-8", "replace")) + (0 if size is None else self._picture(size))
        if bound <= most:
            return bound
        return self._width(self._adapter.dialogue(self._signature, self._demos, post_inputs(post)))

    def _bound(self, message: Mapping[str, Any]) -> int:
        parts = message["content"]
        texts = sum(len(part["text"].encode("utf-8", "replace")) for part in parts if part["type"] == "text")
        return _TURN + texts + sum(self._picture(part["image"].size) for part in parts if part["type"] == "image")

    def _picture(self, size: Size) -> int:
        """The tokens of a picture, which depend on nothing but its size."""
        if size not in self._pictures:
            text = {"type": "text", "text": "."}
            shown = [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", size)}, text]}]
            self._pictures[size] = self._width(shown)
        return self._pictures[size]

    def _width(self, conversation: list[Any]) -> int:
        return int(self._encoder([conversation])["attention_mask"].sum())
