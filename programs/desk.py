"""What the engine's thread does: it answers calls together, and takes further ones in as others end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import torch

from gmner.programs.batching import Call
from gmner.programs.generation import Completion, Generator, Prompt
from gmner.programs.row_logits import Row
from gmner.signatures.errors import GmnerError

_LOG = logging.getLogger(__name__)
_REFILL = 0.25
# Prompts join when this share of the batch is free: reading one alone would hold up the others for little.

Question = TypeVar("Question")
Reply = TypeVar("Reply")
_Asked = tuple[Call[Question, Reply], Prompt]


class AnsweringDesk(Generic[Question, Reply]):
    """A `gmner.programs.batching.Desk` that answers with a local model.

    A question that cannot be prepared fails alone. What fails while it is answered with others is answered again in
    halves, so that out of memory or one bad row costs no other; after out of memory fewer are answered at once.

    Args:
        generator: Answers prompts.
        most: Most calls under way at once.
        prompt: The prompt of a question; raises a `GmnerError` or one of `refusals` where there is none.
        reply: The reply to a question, or the exception that stands for it.
        refusals: Further exceptions of `prompt`.
    """

    def __init__(
        self,
        generator: Generator,
        most: int,
        prompt: Callable[[Question], Prompt],
        reply: Callable[[Question, Prompt, Completion], Reply | Exception],
        refusals: tuple[type[Exception], ...] = (),
    ) -> None:
        self._generator, self._most, self._prompt, self._reply = generator, most, prompt, reply
        self._refusals: tuple[type[Exception], ...] = (GmnerError, *refusals)
        self._stream = generator.stream()
        self._in_hand: dict[Row, _Asked[Question, Reply]] = {}

    @property
    def room(self) -> int:
        """See `Desk`."""
        if not self._in_hand:
            return self._most
        free = self._most - len(self._in_hand)
        return free if free >= _REFILL * self._most and self._stream.joinable else 0

    @property
    def busy(self) -> bool:
        """See `Desk`."""
        return bool(self._in_hand)

    def take(self, calls: Sequence[Call[Question, Reply]]) -> None:
        """See `Desk`."""
        asked: list[_Asked[Question, Reply]] = []
        for call in calls:
            try:
                prompt = replace(self._prompt(call.question), abandoned=call.abandoned)
                self._generator.check(prompt)
                asked.append((call, prompt))
            except self._refusals as error:
                call.settle(error)
        if asked:
            try:
                rows = self._generator.add(self._stream, [prompt for _, prompt in asked])
                self._in_hand.update(zip(rows, asked, strict=True))
            except Exception as error:
                self._again(asked, error)

    def go_on(self) -> None:
        """See `Desk`; writes a token of each answer."""
        try:
            ended = self._stream.step()
        except Exception as error:
            self._again([], error)
            return
        for row in ended:
            call, prompt = self._in_hand.pop(row)
            try:
                self._settle(call, prompt, self._generator.completion(row))
            except Exception as error:
                call.settle(error)

    def _again(self, more: Sequence[_Asked[Question, Reply]], error: Exception) -> None:
        """After an error: answer what is in hand, and `more`, in halves."""
        asked = [*self._in_hand.values(), *more]
        self._in_hand, self._stream = {}, self._generator.stream()
        if isinstance(error, torch.OutOfMemoryError) and len(asked) > 1:
            self._most = len(asked) // 2
            _LOG.warning("Out of memory with %d answers under way: from now on at most %d", len(asked), self._most)
        elif len(asked) > 1:
            _LOG.warning("%d answers under way failed, and are tried again in halves: %r", len(asked), error)
        self._halve(asked, error)

    def _halve(self, asked: Sequence[_Asked[Question, Reply]], error: Exception) -> None:
        if len(asked) == 1:
            asked[0][0].settle(error)
            return
        error.__traceback__ = None  # its frames hold what filled the memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        middle = len(asked) // 2
        for half in (asked[:middle], asked[middle:]):
            try:
                completions = self._generator.generate([prompt for _, prompt in half])
            except Exception as again:
                self._halve(half, again)
                continue
            for (call, prompt), completion in zip(half, completions, strict=True):
                self._settle(call, prompt, completion)

    def _settle(self, call: Call[Question, Reply], prompt: Prompt, completion: Completion) -> None:
        call.settle(self._reply(call.question, prompt, completion))
