"""Hides single messages of a logger."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_messages(logger: str, words: str) -> Iterator[None]:
    """Hide the messages of a logger that contain some words; others are logged as before.

    Args:
        logger: Name of the logger; messages of the loggers below it are not hidden.
        words: Part of the messages to hide.

    Example:
        >>> with without_messages("gmner.example", "expected"):
        ...     logging.getLogger("gmner.example").warning("this is expected")
    """

    def other(record: logging.LogRecord) -> bool:
        return words not in record.getMessage()

    log = logging.getLogger(logger)
    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)
