"""`Meter`: measures the time and the peak memory of a block, on the GPU or on the CPU."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType

import torch

from gmner.programs.peak_memory import process_peak

GIB = 2**30


@dataclass
class Meter:
    """A context manager that measures time and memory: GPU memory if there is a GPU, else the peak of the process.

    Attributes:
        seconds: Time, including work queued on the GPU.
        before: GPU memory in use at the start, GiB, without the allocator's cache; 0 without a GPU.
        peak: Peak of the allocated memory, GiB.
        reserved: Peak of the memory reserved by the allocator, GiB; `nvidia-smi` shows it plus that of the driver.
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
        """The memory figures in GiB."""
        return {
            "before_gib": round(self.before, 2),
            "peak_gib": round(self.peak, 2),
            "reserved_gib": round(self.reserved, 2),
        }
