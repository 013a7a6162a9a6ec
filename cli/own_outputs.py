"""Pages and exports, which only the command that wrote them may replace.

Next to an output `page.html`, the file `.page.html.run.json` records the arguments of the command and a digest of the
output. The same command may replace the output as long as it was not modified.
"""

from __future__ import annotations

import hashlib
import json
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from gmner.data.files.outputs import OVERWRITE, exists
from gmner.signatures.errors import InputError

_ASKED = (
    "to",
    "source",
    "tasks",
    "predictions",
    "posts",
    "gold",
    "split",
    "images",
    "format",
    "instances",
    "joiner",
    "limit",
    "least_sure",
    "image_url",
)

Arguments = Mapping[str, str | None]
"""Arguments of a command by name, with paths resolved; None: not given."""


def arguments_of(given: Namespace) -> Arguments:
    """The arguments that determine a page or an export, apart from the content of the files it is made from."""
    values = {name: _text(getattr(given, name, None)) for name in _ASKED}
    return {"command": given.command, **values}


def is_result(outputs: Sequence[Path]) -> bool:
    """Whether files are the unchanged output of a command, whatever its arguments were."""
    return _record(outputs[0]).get("sha256") == _digest(outputs)


def is_own(outputs: Sequence[Path], arguments: Arguments) -> bool:
    """Whether files are the unchanged output of the same command, so that it may replace them.

    Args:
        outputs: Files that belong together, the first of which has the record.
        arguments: See `arguments_of`.
    """
    return is_result(outputs) and _record(outputs[0]).get("arguments") == dict(arguments)


def refuse(outputs: Sequence[Path], other: Path, arguments: Arguments) -> None:
    """Refuse to replace an output, and name the arguments that differ from those with which it was written.

    Args:
        outputs: See `is_own`.
        other: The existing output.
        arguments: See `arguments_of`.

    Raises:
        InputError: Always.
    """
    from gmner.programs.corpus_file import argument_changes

    why = ""
    if is_result(outputs) and isinstance(before := _record(outputs[0]).get("arguments"), dict):
        why = f" ({'; '.join(argument_changes(before, arguments))})"
    raise InputError(f"The output already exists with other content{why}", received=str(other), remedy=OVERWRITE)


def remember(outputs: Sequence[Path], arguments: Arguments) -> None:
    """Record the arguments and the content of an output, so that the same command may replace it."""
    from gmner.data.files.atomic import whole_text

    with whole_text(_place(outputs[0])) as file:
        json.dump({"arguments": dict(arguments), "sha256": _digest(outputs)}, file)


def _text(value: object) -> str | None:
    if isinstance(value, list):
        return ", ".join(str(_text(item)) for item in value)
    return None if value is None else os.path.realpath(value) if isinstance(value, Path) else str(value)


def _place(output: Path) -> Path:
    real = Path(os.path.realpath(output))
    return real.with_name(f".{real.name[:200]}.run.json")


def _record(output: Path) -> dict[str, object]:
    try:
        record = json.loads(_place(output).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _digest(outputs: Sequence[Path]) -> str:
    """A digest of files that belong together; a missing file counts as empty."""
    digest = hashlib.sha256()
    for output in outputs:
        data = output.read_bytes() if exists(output) and output.is_file() else b""
        digest.update(f"{len(data)} ".encode() + data)
    return digest.hexdigest()
