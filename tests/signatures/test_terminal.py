"""Text that is safe to print on a terminal."""

import json
import logging

import pytest

from gmner.signatures.terminal import PrintableFormatter, printable, printable_line

ODD = [
    "\x1b[31m",
    "\x9b31m",
    "\x07",
    "\r",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u2028",
    "\ud83d",
    "\x00",
    "\U000e0041",
]


@pytest.mark.parametrize("odd", ODD)
def test_control_characters_are_escaped(odd: str):
    shown = printable(f"a{odd}b")
    assert shown.replace("[31m", "").replace("31m", "").isprintable()
    assert json.loads(f'"{shown}"') == f"a{odd}b"
    shown.encode()


@pytest.mark.parametrize(
    "text", ["Ana\tmet\nBo", "张三 é \U0001f468\u200d\U0001f469", "\u0645\u0631\u062d\u0628\u0627"]
)
def test_printable_text_is_unchanged(text: str):
    assert printable(text) == text


def test_escaped_json_is_equivalent():
    record = {"id": "".join(ODD)}
    assert json.loads(printable(json.dumps(record, ensure_ascii=False))) == record


def test_line_ends_are_escaped_in_a_line():
    assert printable_line("a\nb\r\x1b") == "a\\nb\\u000d\\u001b"


def test_log_records_are_escaped():
    record = logging.LogRecord("gmner", logging.WARNING, "", 0, "post %s", ("\x1b[2J",), None)
    assert PrintableFormatter().format(record) == "post \\u001b[2J"
