"""Seconds and peak memory of a piece of work, on the GPU or on the processor."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType

import torch

from gmner.optimizers.peak_memory import process_peak

GIB = 2**30


@dataclass
class Meter:
    """Measures what runs within it; GPU memory where there is a GPU, else the process's peak so far.

    Attributes:
        seconds: Time, the GPU's work included.
        before: GiB of the GPU that were taken before, without what the allocator keeps; 0 without a GPU.
        peak: Most GiB allocated at once.
        reserved: Most GiB that the allocator held, which is what `nvidia-smi` shows beside the driver's own.
    """

    seconds: float = 0.0
    before: float = 0.0
    peak: float = 0.0
    reserved: float = 0.0

    def __enter__(self) -> Meter:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated() / GIB
        self._begin = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.peak = torch.cuda.max_memory_allocated() / GIB
            self.reserved = torch.cuda.max_memory_reserved() / GIB
        else:
            self.peak = process_peak() / GIB
        self.seconds = perf_counter() - self._begin

    def memory(self) -> dict[str, float]:
        """The memory figures, GiB."""
        return {
            "before_gib": round(self.before, 2),
            "peak_gib": round(self.peak, 2),
            "reserved_gib": round(self.reserved, 2),
        }
