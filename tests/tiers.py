"""Which values of a parametrized test run every day."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def daily(values: Iterable[str], *chosen: str) -> list[Any]:
    """The parameters of a test: those that are chosen run every day, the others with `./tests/run nightly`."""
    return [value if value in chosen else pytest.param(value, marks=pytest.mark.nightly) for value in values]
