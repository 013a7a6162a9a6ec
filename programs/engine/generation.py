"""Prompts to answers on a local model: a grammar a row, prompts that join while others are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gmner.programs.engine.batching import Abandoned, awaited
from gmner.programs.engine.confidence import Token
from gmner.programs.engine.constrained_sampler import SamplerRow, Sampling
from gmner.programs.engine.encoding import ChatEncoder, Conversation, deduplicated
from gmner.programs.engine.grammar import GrammarCompiler
from gmner.programs.engine.running import RunningBatch
from gmner.programs.engine.vision_cache import VisionFeatureCache
from gmner.programs.models.families import picture_ids
from gmner.programs.models.weights import Weights
from gmner.signatures.errors import InputError
from gmner.signatures.schema import Schema, longest_answer

FREE_TEXT_TOKENS = 512
"""Most tokens of an answer whose length is not bounded, when the caller names no number."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to the model.

    Attributes:
        conversation: The chat, pictures as PIL images.
        schema: The JSON schema of the answer; None: free text.
        max_tokens: Most tokens of the answer; None: as many as the longest answer to one of our own schemas
            needs, which bound every part, and `FREE_TEXT_TOKENS` for other schemas and free text.
        sampling: How tokens are drawn.
        logprobs: Whether the answer says how likely each of its tokens was.
        abandoned: Says that nobody waits for the answer any more: it is cut short.
    """

    conversation: Conversation
    schema: Schema | None = None
    max_tokens: int | None = None
    sampling: Sampling = Sampling()  # noqa: RUF009 - frozen
    logprobs: bool = False
    abandoned: Abandoned = awaited

    @property
    def limit(self) -> int:
        """Most tokens of the answer."""
        if self.max_tokens is not None:
            return self.max_tokens
        if self.schema is None or "x-guidance" not in self.schema:
            return FREE_TEXT_TOKENS
        return longest_answer(self.schema)


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote.

    Attributes:
        text: The answer without special tokens.
        prompt_tokens: Tokens of the prompt, those of pictures counted.
        tokens: Tokens written.
        truncated: Whether the limit came before the end.
        logprobs: Each token's text and the logarithm of its probability, where the prompt asks for it.
    """

    text: str
    prompt_tokens: int
    tokens: int
    truncated: bool
    logprobs: tuple[Token, ...] | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Prompts as a model takes them.

    Attributes:
        inputs: Inputs of `generate`, (different prompts, length).
        copies: For each prompt its row.
        widths: Tokens of each prompt, those of pictures counted.
    """

    inputs: Mapping[str, Any]
    copies: list[int]
    widths: list[int]


class Generator:
    """Answers prompts; for one thread at a time.

    Args:
        weights: The loaded model.
        backend: The back end of Outlines.
        sights: Most encoded pictures that are kept, see `gmner.programs.engine.vision_cache`.
    """

    def __init__(self, weights: Weights, backend: str = "llguidance", sights: int = 32) -> None:
        self._weights = weights
        self.encoder = ChatEncoder(weights.processor)
        self._sights = VisionFeatureCache(weights.model, sights)
        self._grammars = GrammarCompiler(weights.model, weights.processor.tokenizer, backend)
        self._encoded: tuple[list[Prompt], Encoded] | None = None

    def check(self, prompt: Prompt) -> None:
        """Refuse a prompt that the model cannot be asked.

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

    def stream(self) -> RunningBatch:
        """No answers under way yet; see `add`."""
        return RunningBatch(self._weights.model, self._weights.end_ids, picture_ids(self._weights.model.config))

    def encode(self, prompts: Sequence[Prompt]) -> Encoded:
        """Prompts as the model takes them, equal ones once; `add` takes over what was made of the same prompts."""
        chats, copies = deduplicated([prompt.conversation for prompt in prompts])
        inputs = self.encoder(chats)
        encoded = Encoded(inputs, copies, inputs["attention_mask"].sum(1)[copies].tolist())
        self._encoded = list(prompts), encoded
        return encoded

    def _taken(self, prompts: Sequence[Prompt]) -> Encoded:
        """What was encoded last, if it is these prompts; it is not kept."""
        (known, encoded), self._encoded = self._encoded or ([], None), None
        same = len(known) == len(prompts) and all(a is b for a, b in zip(known, prompts, strict=True))
        if encoded is None or not same:
            encoded, self._encoded = self.encode(prompts), None
        return encoded

    def budget(self, prompt: Prompt, width: int) -> int:
        """Most tokens of the answer to a prompt of `width` tokens, within the model's context.

        Raises:
            InputError: The context has no room for the prompt and `max_tokens`; where the caller names no number, for
                the prompt and `FREE_TEXT_TOKENS`, or the longest answer if that is shorter.
        """
        context, limit = self._weights.context, prompt.limit
        if context is None or width + limit <= context:
            return limit
        wanted = limit if prompt.max_tokens is not None else min(limit, FREE_TEXT_TOKENS)
        if width + wanted > context:
            raise InputError(
                "A prompt with its answer is longer than the model's context",
                received=f"{width} tokens of prompt and {wanted} for the answer",
                accepted=f"{context} tokens together",
                remedy="shorten the text, use fewer or shorter demonstrations or smaller images, or lower max_tokens",
            )
        return context - width

    def add(self, stream: RunningBatch, prompts: Sequence[Prompt]) -> list[SamplerRow]:
        """Begin to answer prompts with what is under way: a row a prompt. `stream.step()` says which have ended.

        Args:
            stream: What is under way.
            prompts: The prompts.

        Raises:
            InputError: See `budget`.
        """
        encoded = self._taken(prompts)
        rows = [self._row(*both) for both in zip(prompts, encoded.widths, strict=True)]
        stream.add(self._sights(encoded.inputs), encoded.copies, rows)
        return rows

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer prompts as one batch: one completion a prompt, in order."""
        stream = self.stream()
        rows = self.add(stream, prompts)
        while stream:
            stream.step()
        return [self.completion(row) for row in rows]

    def completion(self, row: SamplerRow) -> Completion:
        """What an answer that has ended says."""
        logprobs = None if row.logprobs is None else self._tokens(row.written, row.logprobs)
        return Completion(self._text(row.written), row.prompt_tokens, len(row.written), row.truncated, logprobs)

    def _row(self, prompt: Prompt, width: int = 0) -> SamplerRow:
        grammar = None if prompt.schema is None else self._grammars.compile(prompt.schema)
        logprobs: list[float] | None = [] if prompt.logprobs else None
        return SamplerRow(grammar, self.budget(prompt, width), prompt.sampling, logprobs, prompt.abandoned, width)

    def _text(self, ids: Sequence[int]) -> str:
        # clean_up_tokenization_spaces would rewrite what the grammar enforced
        return self._weights.processor.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def _tokens(self, ids: Sequence[int], logprobs: Sequence[float]) -> tuple[Token, ...]:
        """Each token's text; of tokens that hold parts of one character, the last one has it."""
        found, begin = [], 0
        for end, logprob in enumerate(logprobs[: len(ids)], 1):
            part = self._text(ids[begin:end])
            whole = not part.endswith("\ufffd")
            found.append((part if whole else "", logprob))
            begin = end if whole else begin
        return tuple(found)
