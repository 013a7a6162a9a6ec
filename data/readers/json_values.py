"""Checked access to values of JSON files of other projects. Errors name the location; lone surrogates are replaced."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gmner.data.oddities import OddityLog
from gmner.signatures.errors import DataError, InputError

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def load_json(path: Path) -> Any:
    """The JSON value of a whole file, UTF-8.

    Raises:
        InputError: The file does not exist.
        DataError: The file is not UTF-8 or not JSON; the error names it.
    """
    if not path.is_file():
        raise InputError("File not found", received=str(path), accepted="a JSON file")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8", remedy=str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON", remedy=str(error)) from error
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read", remedy=str(error)) from error


def record_of(value: object, where: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        DataError: Something else.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: not an object", received=value)
    return value


def list_of(value: object, name: str, where: str) -> list[Any]:
    """A JSON list.

    Raises:
        DataError: Something else.
    """
    if not isinstance(value, list):
        raise DataError(f"{where}: `{name}` is not a list", received=value)
    return value


def strings_of(value: object, name: str, where: str, findings: OddityLog) -> tuple[str, ...]:
    """A JSON list of strings, see `text_of`.

    Raises:
        DataError: Something else.
    """
    return tuple(text_of(item, name, where, findings) for item in list_of(value, name, where))


def text_of(value: object, name: str, where: str, findings: OddityLog) -> str:
    r"""A JSON string. Half of a surrogate pair, which cannot be written to a file, is read as U+FFFD and reported.

    Raises:
        DataError: Something else.
    """
    if not isinstance(value, str):
        raise DataError(f"{where}: `{name}` is not a string", received=value)
    if _SURROGATE.search(value):
        findings.add("lone_surrogate", where, f"`{name}` contains half of a surrogate pair, which is read as U+FFFD")
        return _SURROGATE.sub("�", value)
    return value


def whole_number(value: object, name: str, where: str) -> int:
    """A JSON number without fraction.

    Raises:
        DataError: Something else, including true and false.
    """
    if type(value) is not int:
        raise DataError(f"{where}: `{name}` is not a whole number", received=value)
    return value


def id_of(value: object, where: str, findings: OddityLog) -> str | None:
    """A number or string as an id; None if the value is missing or empty.

    Raises:
        DataError: Something else.
    """
    if value is None or value == "":
        return None
    if type(value) is int:
        return str(value)
    return text_of(value, "id", where, findings)
