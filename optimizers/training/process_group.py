"""`ProcessGroup`: the processes that `accelerate launch` or `torchrun` has started, or a single process."""

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
"""Time limit of waiting for the first process, which may call a teacher model. If a process fails, all end at once."""


class ProcessGroup:
    """The processes of one launch, which share a file system.

    Attributes:
        rank: Rank of this process, 0 for the first.
        size: Number of processes.
    """

    def __init__(self) -> None:
        self.rank, self.size, self._group = 0, int(os.environ.get("WORLD_SIZE", "1")), None
        if self.size > 1:
            self.rank = PartialState(cpu=not torch.cuda.is_available()).process_index
            # The default group of NCCL would time out after ten minutes.
            self._group = distributed.new_group(backend="gloo", timeout=_PATIENCE)

    @property
    def first(self) -> bool:
        """Whether this process writes files and logs for all of them."""
        return self.rank == 0

    def wait(self) -> None:
        """Block until all processes have called this."""
        if self._group is not None:
            distributed.barrier(group=self._group)

    def in_turn(self, work: Callable[[], _T]) -> _T:
        """Call `work` in the first process, then in the others, which find the files of the first on disk."""
        if not self.first:
            self.wait()
            return work()
        made = work()
        self.wait()
        return made

    def same(self, make: Callable[[], _T]) -> _T:
        """Return in every process the value that `make` returns in the first one; it must be picklable."""
        values: list[Any] = [make() if self.first else None]
        if self._group is not None:
            distributed.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def shared(self, items: list[_T], work: Callable[[list[_T]], list[Any]]) -> list[Any]:
        """Divide items among the processes, and return all results in every process, in order of the items.

        Args:
            items: The items, the same in every process.
            work: Returns one picklable result for each item of a list.
        """
        if self._group is None:
            return work(items)
        parts: list[Any] = [None] * self.size
        # A plain list: attributes of a list of results, such as posts with images, are not sent.
        distributed.all_gather_object(parts, list(work(items[self.rank :: self.size])), group=self._group)
        results: list[Any] = [None] * len(items)
        for rank, part in enumerate(parts):
            results[rank :: self.size] = part
        return results
