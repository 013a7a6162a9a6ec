"""Peak memory of this process."""

import sys
from types import SimpleNamespace

import pytest

from gmner.programs import peak_memory


def test_peak_grows_with_allocated_memory_and_stays():
    before = peak_memory.process_peak()
    assert 2**20 < before < 2**40
    held = bytearray(before)  # as much again, every page of it written
    grown = peak_memory.process_peak()
    assert grown > before
    del held
    assert peak_memory.process_peak() >= grown


def test_peak_on_windows(monkeypatch: pytest.MonkeyPatch):
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=123))
    monkeypatch.setattr(peak_memory.psutil, "Process", lambda: process)
    monkeypatch.setattr(sys, "platform", "win32")
    assert peak_memory.process_peak() == 123
