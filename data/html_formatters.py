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
        """Set what imports the built-in formatters when the first value is displayed."""
        self._load = load

    def register(self, kind: type[_T], formatter: Callable[[_T], str]) -> None:
        """Render values of a type, and of its subclasses without a formatter of their own, with `formatter`."""
        self._formatters[kind] = formatter

    def html(self, value: object) -> str | None:
        """A value as an HTML fragment; None where no formatter is registered for its type."""
        if self._load is not None:
            self._load()
            self._load = None
        found = next((self._formatters[kind] for kind in type(value).__mro__ if kind in self._formatters), None)
        return None if found is None else found(value)


FORMATTERS = HtmlFormatters()
"""The formatters of this package's values."""
