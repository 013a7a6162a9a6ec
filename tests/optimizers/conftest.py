"""Programs on tiny checkpoints, posts of the world for training, and the weights in a folder."""

from collections.abc import Callable
from pathlib import Path

import dspy
import pytest
import torch
from safetensors.torch import load_file

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.programs.gmner import GMNER
from gmner.signatures.schema import Limits

LIMITS = Limits(reasoning=20, entities=4)
"""Short enough that a random model under the grammar always ends within `LONGEST` tokens."""
LONGEST = 400


@pytest.fixture(scope="session")
def program(tiny_lm: Callable[[str], dspy.LM]) -> Callable[[str], GMNER]:
    """`program(family)`: a new program on the tiny checkpoint, with short answers."""
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
