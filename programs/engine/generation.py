"""`Generator`: from prompts to completions on a local model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from gmner.programs.engine.batching import Abandoned, awaited
from gmner.programs.engine.confidence import Token
from gmner.programs.engine.constrained_sampler import SamplerRow, Sampling
from gmner.programs.engine.encoding import ChatEncoder, Conversation, deduplicated
from gmner.programs.engine.grammar import GrammarCompiler
from gmner.programs.engine.running import RunningBatch
from gmner.programs.engine.thought import ThinkingRules, Thought
from gmner.programs.engine.vision_cache import VisionFeatureCache
from gmner.programs.models.families import picture_ids
from gmner.programs.models.weights import Weights
from gmner.signatures.errors import InputError
from gmner.signatures.schema import Schema, longest_answer

_LOG = logging.getLogger(__name__)

FREE_TEXT_TOKENS = 512
"""Default `max_tokens` of answers without a bound of their own: free text and foreign schemas."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat with the constraints and the sampling settings of its answer.

    Attributes:
        conversation: The chat, with images as PIL images.
        schema: The JSON schema of the answer; None: free text.
        max_tokens: Token limit of the answer; None: the length of the longest answer for our own schemas, which bound
            every part, and `FREE_TEXT_TOKENS` for other schemas and free text.
        sampling: Sampling settings.
        logprobs: Whether to return the log probability of each token.
        abandoned: Returns whether the caller has given up; the answer is then cut off.
    """

    conversation: Conversation
    schema: Schema | None = None
    max_tokens: int | None = None
    sampling: Sampling = Sampling()  # noqa: RUF009 - frozen
    logprobs: bool = False
    abandoned: Abandoned = awaited

    @property
    def limit(self) -> int:
        """Token limit of the answer."""
        if self.max_tokens is not None:
            return self.max_tokens
        if self.schema is None or "x-guidance" not in self.schema:
            return FREE_TEXT_TOKENS
        return longest_answer(self.schema)


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer of the model.

    Attributes:
        text: The answer without special tokens.
        prompt_tokens: Length of the prompt in tokens, image tokens included.
        tokens: Length of the answer in tokens, without its thinking.
        truncated: Whether the limit was reached before the answer was complete.
        logprobs: Text and log probability of each token of the answer; None if `Prompt.logprobs` is False.
        thinking: The thoughts before the answer; None: the model does not think.
        thinking_tokens: Length of the thinking in tokens, with its end marker.
    """

    text: str
    prompt_tokens: int
    tokens: int
    truncated: bool
    logprobs: tuple[Token, ...] | None = None
    thinking: str | None = None
    thinking_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokenised prompts; equal prompts share a row.

    Attributes:
        inputs: Inputs of `generate`, (distinct prompts, length).
        copies: For each prompt its row.
        widths: Length of each prompt in tokens, image tokens included.
    """

    inputs: Mapping[str, Any]
    copies: list[int]
    widths: list[int]


class Generator:
    """Encodes prompts, adds them to a running batch, and decodes the answers. Not thread-safe.

    Args:
        weights: The loaded model.
        backend: The back end of Outlines.
        cached_images: Capacity of the vision cache in images or tiles, see `gmner.programs.engine.vision_cache`.
        thinking_tokens: Tokens of thinking after which it is closed, if the model was loaded with thinking.
    """

    def __init__(
        self, weights: Weights, backend: str = "llguidance", cached_images: int = 32, thinking_tokens: int = 0
    ) -> None:
        self._weights, self._tokenizer = weights, weights.processor.tokenizer
        self.encoder = ChatEncoder(weights.processor)
        self._vision_cache = VisionFeatureCache(weights.model, cached_images)
        self._grammars = GrammarCompiler(weights.model, weights.processor.tokenizer, backend)
        self._last_encoded: tuple[list[Prompt], Encoded] | None = None
        self._thinking: ThinkingRules | None = None
        self._warned = False
        if weights.source.thinking and weights.thinking is not None:
            self._thinking = ThinkingRules(weights.processor.tokenizer, weights.thinking, thinking_tokens)

    def check(self, prompt: Prompt) -> None:
        """Validate a prompt on its own, so that a bad one does not fail a whole batch.

        Raises:
            InputError: Its schema cannot be compiled.
            ImageError: The processor refuses an image because of its aspect ratio.
        """
        for turn in prompt.conversation:
            for part in turn["content"]:
                if not isinstance(part, str) and part["type"] == "image":
                    self._weights.profile.resized(part["image"].size)
        if prompt.schema is not None:
            self._grammars.compile(prompt.schema)

    def new_batch(self) -> RunningBatch:
        """Create an empty running batch for `add`."""
        return RunningBatch(self._weights.model, self._weights.end_ids, picture_ids(self._weights.model.config))

    def encode(self, prompts: Sequence[Prompt]) -> Encoded:
        """Tokenise prompts, equal ones once. `add` reuses the result if it is called next with the same prompts."""
        chats, copies = deduplicated([prompt.conversation for prompt in prompts])
        inputs = self.encoder(chats)
        encoded = Encoded(inputs, copies, inputs["attention_mask"].sum(1)[copies].tolist())
        self._last_encoded = list(prompts), encoded
        return encoded

    def _take_encoded(self, prompts: Sequence[Prompt]) -> Encoded:
        """Take the last result of `encode` if it belongs to these prompts, else encode them.

        The result is dropped afterwards: it holds the pixels of all images.
        """
        (known, encoded), self._last_encoded = self._last_encoded or ([], None), None
        same = len(known) == len(prompts) and all(a is b for a, b in zip(known, prompts, strict=True))
        if encoded is None or not same:
            encoded, self._last_encoded = self.encode(prompts), None
        return encoded

    def budget(self, prompt: Prompt, width: int) -> int:
        """Token limit of the answer to a prompt of `width` tokens, within the model's context.

        Raises:
            InputError: The prompt, its thinking and `max_tokens` exceed the context; without `max_tokens`, the prompt,
                its thinking and `FREE_TEXT_TOKENS` (or the longest answer, if that is shorter) do.
        """
        thinking = 0 if self._thinking is None else self._thinking.most
        return answer_budget(prompt, width, thinking, self._weights.context)

    def add(self, batch: RunningBatch, prompts: Sequence[Prompt]) -> list[SamplerRow]:
        """Prefill prompts and add them to a running batch.

        Args:
            batch: The running batch; its `step()` returns the rows that have ended.
            prompts: The prompts.

        Returns:
            The state of each answer, in the order of the prompts.

        Raises:
            InputError: See `budget`.
        """
        encoded = self._take_encoded(prompts)
        rows = [self._row(*both) for both in zip(prompts, encoded.widths, strict=True)]
        batch.add(self._vision_cache(encoded.inputs), encoded.copies, rows)
        return rows

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer prompts as one batch. Returns one completion a prompt, in order."""
        batch = self.new_batch()
        rows = self.add(batch, prompts)
        while batch:
            batch.step()
        return [self.completion(row) for row in rows]

    def completion(self, row: SamplerRow) -> Completion:
        """Decode an answer that has ended."""
        logprobs = None if row.logprobs is None else token_texts(self._tokenizer, row.written, row.logprobs)
        answer = answer_text(self._tokenizer, row.written), row.prompt_tokens, len(row.written), row.truncated, logprobs
        thought = row.thought
        if thought is None:
            return Completion(*answer)
        if thought.cut and not self._warned:
            self._warned = True
            _LOG.warning("Thinking was closed after %d tokens; raise thinking_tokens", thought.rules.limit)
        return Completion(*answer, thought.text, len(thought.ids))

    def _row(self, prompt: Prompt, width: int = 0) -> SamplerRow:
        grammar = None if prompt.schema is None else self._grammars.compile(prompt.schema)
        logprobs: list[float] | None = [] if prompt.logprobs else None
        thought = None if self._thinking is None else Thought(self._thinking)
        limit = self.budget(prompt, width)
        return SamplerRow(grammar, limit, prompt.sampling, logprobs, prompt.abandoned, width, thought)


def answer_budget(prompt: Prompt, width: int, thinking: int, context: int | None) -> int:
    """Token limit of the answer to a prompt within the context of a model.

    Args:
        prompt: The prompt.
        width: Its length in tokens.
        thinking: Largest number of tokens of its thinking.
        context: The context length of the model; None: not known.

    Raises:
        InputError: See `Generator.budget`.
    """
    limit = prompt.limit
    if context is None or width + thinking + limit <= context:
        return limit
    required = limit if prompt.max_tokens is not None else min(limit, FREE_TEXT_TOKENS)
    if width + thinking + required > context:
        thoughts, fewer = (f", {thinking} for the thinking", " or thinking_tokens") if thinking else ("", "")
        remedy = "Shorten the text, use fewer or shorter demonstrations or smaller images, or lower max_tokens"
        raise InputError(
            "The prompt and its answer exceed the model's context",
            received=f"{width} tokens of prompt{thoughts} and {required} for the answer",
            accepted=f"{context} tokens together",
            remedy=remedy + fewer,
        )
    return context - width - thinking


def answer_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of an answer, without special tokens."""
    # clean_up_tokenization_spaces would remove spaces before punctuation, and a span would no longer be verbatim.
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], logprobs: Sequence[float]) -> tuple[Token, ...]:
    """Text and log probability of each token of an answer.

    Where several tokens encode one character, the last one gets it, and the others an empty text.
    """
    tokens, begin = [], 0
    for end, logprob in enumerate(logprobs[: len(ids)], 1):
        part = answer_text(tokenizer, ids[begin:end])
        complete = not part.endswith("\ufffd")
        tokens.append((part if complete else "", logprob))
        begin = end if complete else begin
    return tuple(tokens)
