"""HTML formatters by type: values display themselves in a notebook without knowing the pages that render them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


class HtmlFormatters:
    """HTML formatters by type, loaded the first time that a value is displayed."""

    def __init__(self) -> None:
        self._load: Callable[[], object] | None = None
        self._formatters: dict[type, Callable[[Any], str]] = {}

    def load_with(self, load: Callable[[], object]) -> None:
        """Set a function that imports the built-in formatters; it is called before the first value is displayed."""
        self._load = load

    def register(self, kind: type[_T], formatter: Callable[[_T], str]) -> None:
        """Render values of a type, and of its subclasses that have no formatter of their own, with `formatter`."""
        self._formatters[kind] = formatter

    def html(self, value: object) -> str | None:
        """Render a value as an HTML fragment; None if no formatter is registered for its type."""
        if self._load is not None:
            self._load()
            self._load = None
        formatter = next((self._formatters[kind] for kind in type(value).__mro__ if kind in self._formatters), None)
        return None if formatter is None else formatter(value)


FORMATTERS = HtmlFormatters()
"""The formatters of this package's values."""
