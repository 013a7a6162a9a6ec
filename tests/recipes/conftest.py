"""A tokenizer trained on few posts, and untrained models with it."""

import copy
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from gmner.recipes.embedded.model import build_model, build_processor, save
from gmner.recipes.embedded.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, from fewer posts than the shipped one."""
    return train_tokenizer(posts=150)


@pytest.fixture(scope="session")
def checkpoint(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved, untrained model."""
    folder = tmp_path_factory.mktemp("embedded")
    save(build_model(tokenizer), build_processor(copy.deepcopy(tokenizer)), folder)  # the processor adds to it
    return folder


@pytest.fixture(scope="session")
def model(tokenizer: PreTrainedTokenizerFast) -> Any:
    """An untrained model."""
    return build_model(tokenizer).eval()
