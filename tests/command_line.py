"""Runs `gmner` commands in this process."""

import pytest

from gmner.cli.main import main


def run(*words: object) -> int:
    """Run a command and return its exit code."""
    return main([str(word) for word in words])


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must fail with exactly one line on standard error; returns the line."""
    assert run(*words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err
