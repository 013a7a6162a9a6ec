"""Makes text of posts and servers safe to print on a terminal."""

from __future__ import annotations

import logging
import re

_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line and paragraph separators, bidirectional marks and overrides
    r"\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"  # interlinear annotation, surrogates, tags
)


def printable(text: str) -> str:
    r"""Replace control characters by JSON escapes, such as `\u001b` for ESC.

    Terminals execute escape sequences, and bidirectional overrides reorder the visible text. Tabs and line ends are
    kept. The value of JSON text does not change, because such characters occur only inside of its strings.
    """
    return _UNSAFE.sub(lambda match: _escape(match.group()), text)


def printable_line(text: str) -> str:
    """`printable` that also escapes line ends, so that text cannot imitate another message."""
    return printable(text).replace("\n", "\\n")


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


class PrintableFormatter(logging.Formatter):
    """Formats log records so that they are safe to print on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return printable(super().format(record))
