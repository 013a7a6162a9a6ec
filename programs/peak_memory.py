"""`process_peak`: the peak memory of this process, on every operating system."""

from __future__ import annotations

import sys

import psutil

if sys.platform != "win32":
    import resource


def process_peak() -> int:
    """Peak resident memory of this process, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
