"""`VLLMGenerator`: from prompts to completions with vLLM in this process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from gmner.programs.engine.encoding import ChatEncoder, Conversation
from gmner.programs.engine.generation import Completion, Prompt, answer_budget, answer_text, token_texts
from gmner.programs.engine.grammar import grammar_text
from gmner.programs.engine.thought import ThinkingRules, Thought
from gmner.programs.models.checkpoint import Checkpoint
from gmner.programs.models.families import picture_ids
from gmner.programs.seams.vllm_seams import OfflineLLM, Request, Written
from gmner.signatures.errors import GmnerError, InputError

_LOG = logging.getLogger(__name__)
_LENGTH = 300
# Characters of vLLM's message that are kept.


class VLLMGenerator:
    """Answers lists of prompts with the rules of `Generator`. Not thread-safe.

    vLLM gets the token ids of a prompt with one placeholder for each image, and the images. A model that thinks answers
    in two rounds: the thinking without a schema, then the answer behind it.

    Args:
        checkpoint: The model.
        llm: vLLM with the model.
        context: The context length in tokens; None: not known.
        thinking_tokens: Tokens of thinking after which it is closed, if the model was loaded with thinking.

    Raises:
        ModelError: The model has no chat template.
    """

    def __init__(self, checkpoint: Checkpoint, llm: OfflineLLM, context: int | None, thinking_tokens: int = 0) -> None:
        self._checkpoint, self._llm, self._context = checkpoint, llm, context
        self._tokenizer = checkpoint.processor.tokenizer
        self._encoder = ChatEncoder(checkpoint.processor)
        self._never = picture_ids(checkpoint.config)
        self._thinking: ThinkingRules | None = None
        self._compared = self._warned = False
        if checkpoint.source.thinking and checkpoint.thinking is not None:
            self._thinking = ThinkingRules(self._tokenizer, checkpoint.thinking, thinking_tokens)

    def check(self, prompt: Prompt) -> None:
        """Validate a prompt on its own, so that a bad one does not fail a whole batch.

        Raises:
            ImageError: The processor refuses an image because of its aspect ratio.
        """
        for image in _images(prompt.conversation):
            self._checkpoint.profile.resized(image.size)

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion | GmnerError]:
        """Answer prompts, all at once.

        Returns:
            One completion a prompt, in order, or the error of a prompt that exceeds the context.

        Raises:
            Exception: What vLLM raises for a prompt that it refuses; no prompt is answered then.
        """
        encoded = [self._encoder.compact(prompt.conversation) for prompt in prompts]
        thoughts = self._thoughts(prompts, encoded)
        requests = [
            self._request(prompt, ids if thought is None else [*ids, *thought.ids])
            for prompt, ids, thought in zip(prompts, encoded, thoughts, strict=True)
        ]
        written = self._llm.generate(requests)
        self._compare(prompts, written, thoughts)
        return [self._completion(*one) for one in zip(prompts, written, thoughts, strict=True)]

    def explained(self, prompt: Prompt, error: Exception) -> Exception:
        """The error of a single prompt that vLLM has refused, in our words."""
        if isinstance(error, GmnerError) or not isinstance(error, ValueError):
            return error
        try:
            self._budget(prompt, self._encoder([prompt.conversation])["input_ids"].shape[1])
        except InputError as too_long:
            return too_long
        failure = InputError("vLLM refuses the request", remedy=str(error)[:_LENGTH])
        failure.__cause__ = error
        return failure

    def _budget(self, prompt: Prompt, width: int) -> int:
        return answer_budget(prompt, width, 0 if self._thinking is None else self._thinking.most, self._context)

    def _request(self, prompt: Prompt, ids: Sequence[int], **other: Any) -> Request:
        sampling = prompt.sampling
        grammar = None if prompt.schema is None else grammar_text(prompt.schema)
        # As in our own loop, the end token of a structured answer does not count.
        limits = {"max_tokens": prompt.limit + (grammar is not None), "grammar": grammar}
        return Request(
            ids,
            _images(prompt.conversation),
            end_ids=self._checkpoint.end_ids,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=sampling.seed,
            never=self._never,
            **{**limits, "logprobs": prompt.logprobs, **other},
        )

    def _thoughts(self, prompts: Sequence[Prompt], encoded: Sequence[Sequence[int]]) -> list[Thought | None]:
        """The thinking of each prompt, closed; None for a model that does not think."""
        rules = self._thinking
        if rules is None:
            return [None] * len(prompts)
        drawn: list[list[int]] = [[] for _ in prompts]
        if rules.limit:
            free: dict[str, Any] = {"max_tokens": rules.limit, "grammar": None, "logprobs": False}
            requests = [self._request(*both, stop=rules.closing, **free) for both in zip(prompts, encoded, strict=True)]
            drawn = [answer.ids for answer in self._llm.generate(requests)]
        return [self._closed(Thought(rules), ids) for ids in drawn]

    def _closed(self, thought: Thought, drawn: Sequence[int]) -> Thought:
        """Replay the tokens of a thinking by the rules of our own loop, which also close it."""
        end_ids = self._checkpoint.end_ids
        for token in drawn:
            if not thought.closed:
                thought.next(token, end_ids)
        while not thought.closed:  # at the limit, or the tokens that close it
            thought.next(end_ids[0], () if len(thought.ids) >= thought.rules.limit else end_ids)
        if thought.cut and not self._warned:
            self._warned = True
            _LOG.warning("Thinking was closed after %d tokens; raise thinking_tokens", thought.rules.limit)
        return thought

    def _completion(self, prompt: Prompt, written: Written, thought: Thought | None) -> Completion | GmnerError:
        width = len(written.prompt_ids) - (0 if thought is None else len(thought.ids))
        try:
            self._budget(prompt, width)
        except InputError as error:
            return error
        ends = set(self._checkpoint.end_ids)
        complete = bool(written.ids) and written.ids[-1] in ends
        ids = written.ids[:-1] if complete else written.ids[: prompt.limit]
        logprobs = None if written.logprobs is None else token_texts(self._tokenizer, ids, written.logprobs)
        answer = Completion(answer_text(self._tokenizer, ids), width, len(ids), not complete, logprobs)
        return answer if thought is None else _with_thought(answer, thought)

    def _compare(
        self, prompts: Sequence[Prompt], written: Sequence[Written], thoughts: Sequence[Thought | None]
    ) -> None:
        """Warn once if vLLM prepares a prompt with images differently from transformers."""
        found = [place for place, prompt in enumerate(prompts) if _images(prompt.conversation)]
        if self._compared or not found:
            return
        self._compared, (place, *_) = True, found
        thought = thoughts[place]
        ids = self._encoder([prompts[place].conversation])["input_ids"][0].tolist()
        expected = [*ids, *([] if thought is None else thought.ids)]
        if expected != list(written[place].prompt_ids):
            _LOG.warning(
                "vLLM prepares a prompt with images differently (%d tokens, with transformers %d), so that answers may "
                "differ from those of the default engine",
                len(written[place].prompt_ids),
                len(expected),
            )


def _images(conversation: Conversation) -> list[Image.Image]:
    parts = [part for turn in conversation for part in turn["content"] if not isinstance(part, str)]
    return [part["image"] for part in parts if part["type"] == "image"]


def _with_thought(answer: Completion, thought: Thought) -> Completion:
    return replace(answer, thinking=thought.text, thinking_tokens=len(thought.ids))
