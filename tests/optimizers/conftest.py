"""Tiny checkpoints to train, posts of the world to train on, and what weights a folder holds."""

from collections.abc import Callable
from pathlib import Path

import dspy
import pytest
import torch
from safetensors.torch import load_file
from tiny import build_tiny

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.schema import Limits

LIMITS = Limits(reasoning=20, entities=4)
"""Short enough that a random model under the grammar always ends within `LONGEST` tokens."""
LONGEST = 400


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
    found: dict[str, dspy.LM] = {}

    def lm(family: str) -> dspy.LM:
        if family not in found:
            found[family] = load_vlm(tiny(family), cache=False)
        return found[family]

    return lm


@pytest.fixture(scope="session")
def program(tiny_lm: Callable[[str], dspy.LM]) -> Callable[[str], GMNER]:
    """`program(family)`: a new program with short answers on the tiny checkpoint."""
    return lambda family: GMNER(lm=tiny_lm(family), limits=LIMITS)


@pytest.fixture(scope="session")
def posts() -> list[Post]:
    """Posts of the world."""
    return World().posts("train", 24)


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict[str, torch.Tensor]]:
    """`weights(folder)`: the tensors of a folder's adapter, or of its model."""

    def read(folder: Path) -> dict[str, torch.Tensor]:
        adapter = folder / "adapter_model.safetensors"
        return load_file(adapter if adapter.is_file() else folder / "model.safetensors")

    return read
