"""Prompts to answers on a local model: a grammar a row, prompts that join while others are answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gmner.programs.batching import Abandoned, awaited
from gmner.programs.confidence import Token
from gmner.programs.encoding import ChatEncoder, Conversation, once_each
from gmner.programs.families import picture_ids
from gmner.programs.grammar import GrammarCompiler
from gmner.programs.row_logits import Row, Sampling
from gmner.programs.sights import Sights
from gmner.programs.stream import Stream
from gmner.programs.weights import Weights
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


class Generator:
    """Answers prompts; for one thread at a time.

    Args:
        weights: The loaded model.
        backend: The back end of Outlines.
        sights: Most encoded pictures that are kept, see `gmner.programs.sights`.
    """

    def __init__(self, weights: Weights, backend: str = "llguidance", sights: int = 32) -> None:
        self._weights = weights
        self.encoder = ChatEncoder(weights.processor)
        self._sights = Sights(weights.model, sights)
        self._grammars = GrammarCompiler(weights.model, weights.processor.tokenizer, backend)

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if a prompt's schema cannot be compiled."""
        if prompt.schema is not None:
            self._grammars.compile(prompt.schema)

    def stream(self) -> Stream:
        """No answers under way yet; see `add`."""
        return Stream(self._weights.model, self._weights.end_ids, picture_ids(self._weights.model.config))

    def add(self, stream: Stream, prompts: Sequence[Prompt]) -> list[Row]:
        """Begin to answer prompts with what is under way: a row a prompt. `stream.step()` says which have ended."""
        rows = [self._row(prompt) for prompt in prompts]
        chats, copies = once_each([prompt.conversation for prompt in prompts])
        inputs = self.encoder(chats)
        sizes = inputs["attention_mask"].sum(1)[copies].tolist()
        for row, size in zip(rows, sizes, strict=True):
            row.prompt_tokens = size
        stream.add(self._sights(inputs), copies, rows)
        return rows

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer prompts as one batch: one completion a prompt, in order."""
        stream = self.stream()
        rows = self.add(stream, prompts)
        while stream:
            stream.step()
        return [self.completion(row) for row in rows]

    def completion(self, row: Row) -> Completion:
        """What an answer that has ended says."""
        logprobs = None if row.logprobs is None else self._tokens(row.written, row.logprobs)
        return Completion(self._text(row.written), row.prompt_tokens, len(row.written), row.truncated, logprobs)

    def _row(self, prompt: Prompt) -> Row:
        grammar = None if prompt.schema is None else self._grammars.compile(prompt.schema)
        return Row(grammar, prompt.limit, prompt.sampling, [] if prompt.logprobs else None, prompt.abandoned)

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
