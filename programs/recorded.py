"""Reads the JSON files of a bundle and checks them, because bundles may come from untrusted sources."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gmner.signatures.errors import BundleError

DTYPES = ("auto", "bfloat16", "double", "float", "float16", "float32", "float64", "half")
"""The accepted values of `dtype`."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_PATTERNS = ("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "modules_to_save", "layers_pattern")


def recorded_json(file: Path, description: str) -> Any:
    """Read a JSON file of a bundle.

    Args:
        file: The file.
        description: What the file should be, for the error message: `the manifest of a bundle`.

    Raises:
        BundleError: It cannot be read, is not UTF-8, is not JSON, is nested too deeply, or contains a lone surrogate;
            the message names the file.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        json.dumps(data, ensure_ascii=False).encode()  # raises for a lone surrogate, which no model accepts
        return data
    except (ValueError, OSError, RecursionError) as error:
        raise BundleError(f"{file} is not {description}", remedy=str(error)) from error


@contextmanager
def named_in(file: Path) -> Iterator[None]:
    """Prefix every `BundleError` of the block with the name of the file."""
    try:
        yield
    except BundleError as error:
        if error.fact.startswith(str(file)):
            raise
        fact = f"{file}: {error.fact}"
        raise BundleError(fact, received=error.received, accepted=error.accepted, remedy=error.remedy) from error


def check_adapter_config(folder: Path) -> None:
    """Check that the configuration of a bundle's adapter is a JSON object whose patterns are regular expressions.

    Raises:
        BundleError: It is not; the message names the file.
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
                f"{file}: {name} has a pattern that is not a regular expression",
                received=pattern,
                remedy=str(error),
            ) from error


def _patterns(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values that PEFT interprets as regular expressions, each with the name of its setting."""
    for name in _PATTERNS:
        value = config.get(name)
        if isinstance(value, (list, dict)):
            yield from ((name, pattern) for pattern in value)
        elif value is not None:
            yield name, value
