"""Tiny checkpoints and engines on them, built once a session."""

from collections.abc import Callable
from pathlib import Path

import dspy
import pytest
from tiny import build_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny(family)`: the folder of a tiny random checkpoint of a family."""
    root = tmp_path_factory.mktemp("tiny")

    def folder(family: str) -> Path:
        return root / family if (root / family).is_dir() else build_tiny(family, root / family)

    return folder


@pytest.fixture(scope="session")
def tiny_lm(tiny: Callable[[str], Path]) -> Callable[[str], dspy.LM]:
    """`tiny_lm(family)`: an LM on the tiny checkpoint, without cache, the same one for the whole session."""
    from gmner.programs.models.loading import load_vlm

    found: dict[str, dspy.LM] = {}

    def lm(family: str) -> dspy.LM:
        if family not in found:
            found[family] = load_vlm(tiny(family), cache=False)
        return found[family]

    return lm
