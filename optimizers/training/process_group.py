"""`ProcessGroup`: the processes that `accelerate launch` or `torchrun` started together, or this one alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import distributed

_T = TypeVar("_T")
_PATIENCE = timedelta(days=14)
"""How long the others wait while the first process asks a teacher; a process that fails ends all of them at once."""


class ProcessGroup:
    """The processes of one launch; they share a file system.

    Attributes:
        rank: This process's number, 0 for the first.
        size: Number of processes.
    """

    def __init__(self) -> None:
        self.rank, self.size, self._group = 0, int(os.environ.get("WORLD_SIZE", "1")), None
        if self.size > 1:
            self.rank = PartialState(cpu=not torch.cuda.is_available()).process_index
            # A group of its own: NCCL's would give up after ten minutes.
            self._group = distributed.new_group(backend="gloo", timeout=_PATIENCE)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self._group is not None:
            distributed.barrier(group=self._group)

    def in_turn(self, work: Callable[[], _T]) -> _T:
        """The first process works; then the others do the same, and find on the disk what it made."""
        if not self.first:
            self.wait()
            return work()
        made = work()
        self.wait()
        return made

    def same(self, make: Callable[[], _T]) -> _T:
        """What the first process makes, a picklable value, in every process."""
        values: list[Any] = [make() if self.first else None]
        if self._group is not None:
            distributed.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def shared(self, items: list[_T], work: Callable[[list[_T]], list[Any]]) -> list[Any]:
        """One result an item, in order: every process works on its part, and gets the results of all.

        Args:
            items: The same in every process.
            work: One picklable result an item of a list.
        """
        if self._group is None:
            return work(items)
        parts: list[Any] = [None] * self.size
        # A plain list: what a list of results knows beside them, such as posts with their pictures, need not travel.
        distributed.all_gather_object(parts, list(work(items[self.rank :: self.size])), group=self._group)
        results: list[Any] = [None] * len(items)
        for rank, part in enumerate(parts):
            results[rank :: self.size] = part
        return results
