"""Text of posts and servers, made safe to print on a terminal."""

from __future__ import annotations

import logging
import re

_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line and paragraph separators, bidirectional marks and overrides
    r"\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"  # interlinear annotation, surrogates, tags
)


def printable(text: str) -> str:
    r"""The text with its control characters as JSON escapes: `\u001b` for ESC.

    A terminal obeys escape sequences, and bidirectional overrides reorder what is shown. Tabs and line ends stay. JSON
    stays the same JSON: such characters stand inside of its strings only.
    """
    return _UNSAFE.sub(lambda found: _escape(found.group()), text)


def printable_line(text: str) -> str:
    """`printable`, with line ends as escapes too, so that nothing in the text can look like a further message."""
    return printable(text).replace("\n", "\\n")


def _escape(sign: str) -> str:
    code = ord(sign)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


class PrintableFormatter(logging.Formatter):
    """Formats log records so that they are safe on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return printable(super().format(record))
