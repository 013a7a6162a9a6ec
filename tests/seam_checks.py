"""Checks of the seams: the private and undocumented parts of libraries that the package relies on."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import pytest


@contextmanager
def seam(name: str, file: str) -> Iterator[None]:
    """Fail with the name of a seam, and of our file that uses it, if the block raises anything."""
    library = name.partition(":")[0]
    try:
        yield
    except Exception as error:
        pytest.fail(
            f"The seam {name} has moved ({library} {version(library)}): {type(error).__name__}: {error}\n"
            f"Adapt {file}, then raise the bound of {library} in pyproject.toml.",
            pytrace=False,
        )


def check_parameters(function: Any, *names: str) -> None:
    """Raise `AssertionError` if a function does not take these parameters in this order; others may follow."""
    found = [name for name in inspect.signature(function).parameters if name != "self"]
    assert found[: len(names)] == list(names), f"the parameters are {found}, not {list(names)}"
