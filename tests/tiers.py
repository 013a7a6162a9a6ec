"""Which values of a parametrized test run every day."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def daily(values: Iterable[Any], *chosen: Any) -> list[Any]:
    """The parameters of a test: those that are chosen run every day, the others with `./tests/run nightly`.

    A tuple holds the values of several arguments.
    """
    return [value if value in chosen else pytest.param(*_all(value), marks=pytest.mark.nightly) for value in values]


def _all(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
