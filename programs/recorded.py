"""What the files of a bundle say, read with suspicion: a bundle may come from anyone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gmner.signatures.errors import BundleError

DTYPES = ("auto", "bfloat16", "double", "float", "float16", "float32", "float64", "half")
"""The names of `dtype` that weights can be loaded in."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_PATTERNS = ("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "modules_to_save", "layers_pattern")


def recorded_json(file: Path, what: str) -> Any:
    """The data of a JSON file of a bundle.

    Args:
        file: The file.
        what: What it should be, for an error: `the manifest of a bundle`.

    Raises:
        BundleError: It cannot be read, is not UTF-8, is not JSON, is nested too deeply, or holds half of a
            surrogate pair; the fact names the file.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        json.dumps(data, ensure_ascii=False).encode()  # half of a surrogate pair can be sent to no model
        return data
    except (ValueError, OSError, RecursionError) as error:
        raise BundleError(f"{file} is not {what}", remedy=str(error)) from error


@contextmanager
def named_in(file: Path) -> Iterator[None]:
    """Every `BundleError` of the block begins with the file."""
    try:
        yield
    except BundleError as error:
        if error.fact.startswith(str(file)):
            raise
        fact = f"{file}: {error.fact}"
        raise BundleError(fact, received=error.received, accepted=error.accepted, remedy=error.remedy) from error


def check_adapter_config(folder: Path) -> None:
    """Whether the adapter of a bundle is configured by a JSON object whose patterns are regular expressions.

    Raises:
        BundleError: It is not; the fact names the file.
    """
    file = folder / "adapter_config.json"
    config = recorded_json(file, "the configuration of an adapter")
    if not isinstance(config, dict):
        raise BundleError(f"{file} is not the configuration of an adapter", received=config, accepted="a JSON object")
    for name, pattern in _patterns(config):
        try:
            re.compile(pattern)
        except (TypeError, ValueError, OverflowError, RecursionError, re.error) as error:
            raise BundleError(
                f"{file}: {name} holds a pattern that is not a regular expression",
                received=pattern,
                remedy=str(error),
            ) from error


def _patterns(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What PEFT takes for regular expressions, each with the name of its setting."""
    for name in _PATTERNS:
        value = config.get(name)
        if isinstance(value, (list, dict)):
            yield from ((name, pattern) for pattern in value)
        elif value is not None:
            yield name, value
