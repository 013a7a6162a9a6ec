"""`gmner` in this process."""

import pytest

from gmner.cli.main import main


def run(*words: object) -> int:
    """Run a command; its exit code."""
    return main([str(word) for word in words])


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must fail with one line of error and nothing else; the line."""
    assert run(*words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err
