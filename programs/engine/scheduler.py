"""What the engine's thread does: it answers calls together, and takes further ones in as others end."""

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
# Prompts join when this share of the batch is free: reading one alone would hold up the others for little.
_LONG = 1024
# Prompts of more tokens than this wait for shorter ones that are under way.

Question = TypeVar("Question")
Reply = TypeVar("Reply")
_Asked = tuple[PendingCall[Question, Reply], Prompt]


class RequestScheduler(Generic[Question, Reply]):
    """A `gmner.programs.engine.batching.Scheduler` that answers with a local model.

    Prompts of like length share a batch. A long one is read when the answers that were under way before it have ended,
    so that it holds up none of them.

    A question that cannot be prepared fails alone. What fails while it is answered with others is answered again in
    halves, so that out of memory or one bad row costs no other; after out of memory fewer are answered at once.

    Args:
        generator: Answers prompts.
        most: Most calls under way at once.
        prompt: The prompt of a question; raises where there is none.
        reply: The reply to a question, or the exception that stands for it.
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
        self._later: list[_Later[Question, Reply]] = []

    @property
    def capacity(self) -> int:
        """See `Scheduler`."""
        if not self.active:
            return self._most
        free = self._most - sum(len(lane.rows) for lane in self._lanes) - sum(len(late.asked) for late in self._later)
        closed = any(late.failed for late in self._later) or not all(lane.stream.joinable for lane in self._lanes)
        return 0 if closed or free < _REFILL * self._most else free

    @property
    def active(self) -> bool:
        """See `Scheduler`."""
        return bool(self._lanes or self._later)

    def forget(self) -> None:
        """See `Scheduler`."""
        self._lanes, self._later = [], []

    def admit(self, calls: Sequence[PendingCall[Question, Reply]]) -> None:
        """See `Scheduler`."""
        asked: list[_Asked[Question, Reply]] = []
        for call in calls:
            try:
                prompt = replace(self._prompt(call.question), abandoned=call.abandoned)
                self._generator.check(prompt)
                asked.append((call, prompt))
            except BaseException as error:  # llguidance panics with one that is no Exception
                call.settle(error)
        self._sort(asked)

    def _sort(self, asked: Sequence[_Asked[Question, Reply]], *, waited: bool = False) -> None:
        """Encode prompts, and begin to answer them in groups of like length."""
        if not asked:
            return
        try:
            encoded = self._generator.encode([prompt for _, prompt in asked])
        except BaseException as error:
            for half in _halves(asked, error):
                self._sort(half, waited=waited)
            return
        fitting = [place for place in range(len(asked)) if self._fits(asked[place], encoded.widths[place])]
        widths = [encoded.widths[place] for place in fitting]
        for group in grouped(widths):
            some, sizes = [asked[fitting[place]] for place in sorted(group)], [widths[place] for place in group]
            self._begin(some, min(sizes), max(sizes), waited)

    def _fits(self, asked: _Asked[Question, Reply], width: int) -> bool:
        call, prompt = asked
        try:
            self._generator.budget(prompt, width)
        except BaseException as error:
            call.settle(error)
            return False
        return True

    def _begin(self, asked: Sequence[_Asked[Question, Reply]], narrowest: int, widest: int, waited: bool) -> None:
        """Read prompts of like length, now or when what is under way has ended."""
        under_way = self._under_way()
        lane = next((lane for lane in self._lanes if lane.stream.takes(narrowest, widest)), None)
        wider = lane is None and all(row.prompt_tokens < narrowest for row in under_way)
        if under_way and wider and not waited and len(asked) * widest > _LONG:
            self._later.append(_Later(asked, under_way, failed=False))
            return
        lane = lane or _Lane(self._generator.stream())
        try:
            rows = self._generator.add(lane.stream, [prompt for _, prompt in asked])
        except BaseException as error:
            self._not_begun(lane, asked, error)
            return
        lane.rows.update(zip(rows, asked, strict=True))
        if lane not in self._lanes:
            self._lanes.append(lane)

    def _not_begun(
        self, lane: _Lane[Question, Reply], asked: Sequence[_Asked[Question, Reply]], error: BaseException
    ) -> None:
        if lane.stream.broken:
            self._again([lane], error, asked)
        elif under_way := self._under_way():  # they may hold the memory that is missing
            self._later.append(_Later(asked, under_way, failed=True))
        else:
            self._again([], error, asked)

    def _under_way(self) -> set[SamplerRow]:
        return {row for lane in self._lanes for row in lane.rows}

    def step(self) -> None:
        """See `Scheduler`; writes a token of each answer."""
        under_way = self._under_way()
        ready = [late for late in self._later if not late.before & under_way]
        self._later = [late for late in self._later if late.before & under_way]
        for late in ready:
            self._sort(late.asked, waited=True)
        for lane in list(self._lanes):
            if lane in self._lanes:
                self._step(lane)

    def _step(self, lane: _Lane[Question, Reply]) -> None:
        try:
            ended = lane.stream.step()
        except torch.OutOfMemoryError as error:
            self._again(list(self._lanes), error)
            return
        except BaseException as error:
            self._again([lane], error)
            return
        for row in ended:
            call, prompt = lane.rows.pop(row)
            try:
                call.settle(self._reply(call.question, prompt, self._generator.completion(row)))
            except BaseException as error:
                call.settle(error)
        if not lane.rows:
            self._lanes.remove(lane)

    def _again(
        self,
        lanes: Sequence[_Lane[Question, Reply]],
        error: BaseException,
        more: Sequence[_Asked[Question, Reply]] = (),
    ) -> None:
        """After an error: answer what is under way in these lanes, and `more`, in halves."""
        asked = [*(one for lane in lanes for one in lane.rows.values()), *more]
        self._lanes = [lane for lane in self._lanes if lane not in lanes]
        for lane in lanes:
            lane.stream = self._generator.stream()  # what filled the memory
        if isinstance(error, torch.OutOfMemoryError) and len(asked) > 1:
            self._most = len(asked) // 2
            _LOG.warning("Out of memory with %d answers under way: from now on at most %d", len(asked), self._most)
        elif len(asked) > 1:
            _LOG.warning("%d answers under way failed, and are tried again in halves: %r", len(asked), error)
        for half in _halves(asked, error):
            self._answer(half)

    def _answer(self, asked: Sequence[_Asked[Question, Reply]]) -> None:
        """Answer prompts to their end, in halves where that fails."""
        try:
            completions = self._generator.generate([prompt for _, prompt in asked])
        except BaseException as error:
            for half in _halves(asked, error):
                self._answer(half)
            return
        for (call, prompt), completion in zip(asked, completions, strict=True):
            try:
                call.settle(self._reply(call.question, prompt, completion))
            except BaseException as error:
                call.settle(error)


@dataclass(slots=True, eq=False)
class _Lane(Generic[Question, Reply]):
    """Answers of like length under way in one batch."""

    stream: RunningBatch
    rows: dict[SamplerRow, _Asked[Question, Reply]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Later(Generic[Question, Reply]):
    """Calls that are begun when the answers that were under way before them have ended.

    Attributes:
        asked: The calls.
        before: Those answers.
        failed: Whether they could not be begun beside others; until they are, no further calls are taken.
    """

    asked: Sequence[_Asked[Question, Reply]]
    before: set[SamplerRow]
    failed: bool


def _halves(asked: Sequence[_Asked[Question, Reply]], error: BaseException) -> Iterator[Sequence[Any]]:
    """The calls in two halves, the memory of what failed freed; of one call none, as the error is its own."""
    if len(asked) < 2:
        for call, _ in asked:
            call.settle(error)
        return
    error.__traceback__ = None  # its frames hold what filled the memory
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(asked) // 2
    yield from (asked[:middle], asked[middle:])
