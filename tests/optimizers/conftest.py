"""Programs on tiny checkpoints, posts of the world for training, and the weights in a folder."""

from collections.abc import Callable
from pathlib import Path

import dspy
import pytest
import torch
from safetensors.torch import load_file
from worlds import short_posts

from gmner.data.post import Post
from gmner.programs.gmner import GMNER
from gmner.signatures.schema import Limits

LIMITS = Limits(reasoning=8, entities=2)
"""Short, because the tokens of rollouts take most of the time of a compile; always complete within 400 tokens."""


@pytest.fixture(scope="session")
def program(tiny_lm: Callable[[str], dspy.LM]) -> Callable[[str], GMNER]:
    """`program(family)`: a new program on the tiny checkpoint, with short answers."""
    return lambda family: GMNER(lm=tiny_lm(family), limits=LIMITS)


@pytest.fixture(scope="session")
def posts() -> list[Post]:
    """Posts of the world with one or two mentions, see `LIMITS`."""
    return short_posts(24)


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict[str, torch.Tensor]]:
    """`weights(folder)`: the tensors of a folder's adapter, or of its model."""

    def read(folder: Path) -> dict[str, torch.Tensor]:
        adapter = folder / "adapter_model.safetensors"
        return load_file(adapter if adapter.is_file() else folder / "model.safetensors")

    return read
