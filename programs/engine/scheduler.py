"""`RequestScheduler`: groups calls into running batches, admits new ones, and retries after errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import torch

from gmner.programs.engine.batching import PendingCall
from gmner.programs.engine.constrained_sampler import SamplerRow
from gmner.programs.engine.generation import Completion, Generator, Prompt
from gmner.programs.engine.running import RunningBatch
from gmner.programs.engine.widths import grouped

_LOG = logging.getLogger(__name__)
_REFILL = 0.25
# Share of the batch that must be free before prompts are admitted. A prefill pauses all active answers, so prefilling
# prompts one by one would cost more than the idle rows.
_LONG = 1024
# Total prompt length in tokens above which a prefill waits for the active, shorter answers.

Question = TypeVar("Question")
Reply = TypeVar("Reply")
_Request = tuple[PendingCall[Question, Reply], Prompt]


class RequestScheduler(Generic[Question, Reply]):
    """A `gmner.programs.engine.batching.Scheduler` for a local model.

    Prompts of similar length share a running batch (a lane). The prefill of a long prompt is deferred until the answers
    that were active before it have ended, so that it does not delay them.

    A question without a valid prompt fails alone. A batch that fails is split and run again, so that one bad row does
    not fail the others. A batch that runs out of memory is split too, and later batches stay smaller.

    Args:
        generator: Runs the model.
        most: Largest number of active calls.
        prompt: Returns the prompt of a question, or raises.
        reply: Returns the reply to a question, or the exception to raise in its caller.
    """

    def __init__(
        self,
        generator: Generator,
        most: int,
        prompt: Callable[[Question], Prompt],
        reply: Callable[[Question, Prompt, Completion], Reply | Exception],
    ) -> None:
        self._generator, self._most, self._prompt, self._reply = generator, most, prompt, reply
        self._lanes: list[_Lane[Question, Reply]] = []
        self._deferred: list[_Deferred[Question, Reply]] = []

    @property
    def capacity(self) -> int:
        """See `Scheduler`."""
        if not self.active:
            return self._most
        # Nothing is admitted while a prefill waits for memory, or while a batch cannot be extended: new calls would
        # take the memory again, or form small batches of their own.
        calls = sum(len(lane.rows) for lane in self._lanes) + sum(len(group.requests) for group in self._deferred)
        closed = any(group.failed for group in self._deferred) or not all(lane.batch.joinable for lane in self._lanes)
        free = self._most - calls
        return 0 if closed or free < _REFILL * self._most else free

    @property
    def active(self) -> bool:
        """See `Scheduler`."""
        return bool(self._lanes or self._deferred)

    def forget(self) -> None:
        """See `Scheduler`."""
        self._lanes, self._deferred = [], []

    def admit(self, calls: Sequence[PendingCall[Question, Reply]]) -> None:
        """See `Scheduler`."""
        requests: list[_Request[Question, Reply]] = []
        for call in calls:
            try:
                prompt = replace(self._prompt(call.question), abandoned=call.abandoned)
                self._generator.check(prompt)
                requests.append((call, prompt))
            except BaseException as error:  # a panic in llguidance's Rust code is not an Exception
                call.settle(error)
        self._prefill_in_groups(requests)

    def _prefill_in_groups(self, requests: Sequence[_Request[Question, Reply]], *, waited: bool = False) -> None:
        """Tokenise prompts and prefill them in groups of similar length.

        Args:
            requests: The calls with their prompts.
            waited: Whether they were deferred before; they are not deferred again.
        """
        if not requests:
            return
        try:
            encoded = self._generator.encode([prompt for _, prompt in requests])
        except BaseException as error:
            for half in _halves(requests, error):
                self._prefill_in_groups(half, waited=waited)
            return
        fitting = [place for place in range(len(requests)) if self._fits(requests[place], encoded.widths[place])]
        widths = [encoded.widths[place] for place in fitting]
        for group in grouped(widths):
            alike, sizes = [requests[fitting[place]] for place in sorted(group)], [widths[place] for place in group]
            self._prefill(alike, min(sizes), max(sizes), waited)

    def _fits(self, request: _Request[Question, Reply], width: int) -> bool:
        call, prompt = request
        try:
            self._generator.budget(prompt, width)
        except BaseException as error:
            call.settle(error)
            return False
        return True

    def _prefill(
        self, requests: Sequence[_Request[Question, Reply]], narrowest: int, widest: int, waited: bool
    ) -> None:
        """Prefill prompts of similar length, or defer them until the active answers have ended."""
        active_rows = self._active_rows()
        lane = next((lane for lane in self._lanes if lane.batch.takes(narrowest, widest)), None)
        longest = lane is None and all(row.prompt_tokens < narrowest for row in active_rows)
        if active_rows and longest and not waited and len(requests) * widest > _LONG:
            self._deferred.append(_Deferred(requests, active_rows, failed=False))
            return
        lane = lane or _Lane(self._generator.new_batch())
        try:
            rows = self._generator.add(lane.batch, [prompt for _, prompt in requests])
        except BaseException as error:
            self._handle_prefill_error(lane, requests, error)
            return
        lane.rows.update(zip(rows, requests, strict=True))
        if lane not in self._lanes:
            self._lanes.append(lane)

    def _handle_prefill_error(
        self, lane: _Lane[Question, Reply], requests: Sequence[_Request[Question, Reply]], error: BaseException
    ) -> None:
        if lane.batch.broken:
            self._retry([lane], error, requests)
        elif active_rows := self._active_rows():  # their memory may be what is missing: try again when they have ended
            self._deferred.append(_Deferred(requests, active_rows, failed=True))
        else:
            self._retry([], error, requests)

    def _active_rows(self) -> set[SamplerRow]:
        return {row for lane in self._lanes for row in lane.rows}

    def step(self) -> None:
        """See `Scheduler`; generates one token of each active answer."""
        active_rows = self._active_rows()
        ready = [group for group in self._deferred if not group.before & active_rows]
        self._deferred = [group for group in self._deferred if group.before & active_rows]
        for group in ready:
            self._prefill_in_groups(group.requests, waited=True)
        for lane in list(self._lanes):
            if lane in self._lanes:  # out of memory in one lane removes all of them
                self._step(lane)

    def _step(self, lane: _Lane[Question, Reply]) -> None:
        try:
            ended = lane.batch.step()
        except torch.OutOfMemoryError as error:
            self._retry(list(self._lanes), error)  # all lanes share the memory
            return
        except BaseException as error:
            self._retry([lane], error)
            return
        for row in ended:
            call, prompt = lane.rows.pop(row)
            try:
                call.settle(self._reply(call.question, prompt, self._generator.completion(row)))
            except BaseException as error:
                call.settle(error)
        if not lane.rows:
            self._lanes.remove(lane)

    def _retry(
        self,
        lanes: Sequence[_Lane[Question, Reply]],
        error: BaseException,
        more: Sequence[_Request[Question, Reply]] = (),
    ) -> None:
        """Run the calls of lanes that failed, and `more`, again from their prompts, in halves."""
        requests = [*(one for lane in lanes for one in lane.rows.values()), *more]
        self._lanes = [lane for lane in self._lanes if lane not in lanes]
        for lane in lanes:
            lane.batch = self._generator.new_batch()  # drops the KV cache, which may have filled the memory
        if isinstance(error, torch.OutOfMemoryError) and len(requests) > 1:
            self._most = len(requests) // 2
            _LOG.warning("Out of memory with %d active calls; later batches have at most %d", len(requests), self._most)
        elif len(requests) > 1:
            _LOG.warning("A batch of %d calls failed; it is split and run again: %r", len(requests), error)
        for half in _halves(requests, error):
            self._run_to_end(half)

    def _run_to_end(self, requests: Sequence[_Request[Question, Reply]]) -> None:
        """Run prompts as one batch until all have ended; split the batch if it fails."""
        try:
            completions = self._generator.generate([prompt for _, prompt in requests])
        except BaseException as error:
            for half in _halves(requests, error):
                self._run_to_end(half)
            return
        for (call, prompt), completion in zip(requests, completions, strict=True):
            try:
                call.settle(self._reply(call.question, prompt, completion))
            except BaseException as error:
                call.settle(error)


@dataclass(slots=True, eq=False)
class _Lane(Generic[Question, Reply]):
    """Active calls of similar length in one running batch."""

    batch: RunningBatch
    rows: dict[SamplerRow, _Request[Question, Reply]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Deferred(Generic[Question, Reply]):
    """Calls whose prefill waits until the answers that were active before them have ended.

    Attributes:
        requests: The calls with their prompts.
        before: The answers they wait for.
        failed: Whether their prefill failed beside other answers; no further calls are admitted until it is done.
    """

    requests: Sequence[_Request[Question, Reply]]
    before: set[SamplerRow]
    failed: bool


def _halves(requests: Sequence[_Request[Question, Reply]], error: BaseException) -> Iterator[Sequence[Any]]:
    """Split calls in two after an error, and free the memory; a single call is settled with the error instead."""
    if len(requests) < 2:
        for call, _ in requests:
            call.settle(error)
        return
    error.__traceback__ = None  # its frames hold the tensors that filled the memory
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(requests) // 2
    yield from (requests[:middle], requests[middle:])
