"""Pages and exports that know their own command: replaced by it without asking, and by nothing else.

Beside an output `page.html` lies `.page.html.run.json`: the arguments that it was made with, and a digest of what was
written. The same command may replace it as long as nothing else has changed it.
"""

from __future__ import annotations

import hashlib
import json
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from gmner.data.files.atomic import whole_text
from gmner.data.files.outputs import OVERWRITE, exists
from gmner.programs.corpus_file import argument_changes
from gmner.signatures.errors import InputError

_ASKED = ("to", "predictions", "posts", "gold", "split", "images", "format", "instances", "limit")

Arguments = Mapping[str, str | None]
"""Arguments of a command by name, paths resolved; None: not given."""


def arguments_of(given: Namespace) -> Arguments:
    """What a page or an export depends on beside the content of the files that it was made from."""
    values = {name: _text(getattr(given, name, None)) for name in _ASKED}
    return {"command": given.command, **values}


def outputs_of(given: Namespace) -> list[Path]:
    """The files that a page or an export consists of."""
    beside = given.command == "export" and given.to == "label-studio" and given.output.name
    return [given.output, given.output.with_suffix(".xml")] if beside else [given.output]


def is_result(outputs: Sequence[Path]) -> bool:
    """Whether files are the unchanged output of such a command, with whatever arguments."""
    return _record(outputs[0]).get("sha256") == _digest(outputs)


def is_own(outputs: Sequence[Path], arguments: Arguments) -> bool:
    """Whether files are the unchanged output of the same command, which may therefore replace them.

    Args:
        outputs: Files that belong together, the first of which has the record.
        arguments: See `arguments_of`.
    """
    return is_result(outputs) and _record(outputs[0]).get("arguments") == dict(arguments)


def refuse(outputs: Sequence[Path], other: Path, arguments: Arguments) -> None:
    """Refuse to replace an output, and name the arguments that another one was made with.

    Args:
        outputs: See `is_own`.
        other: The one of them that lies there already.
        arguments: See `arguments_of`.

    Raises:
        InputError: Always.
    """
    why = ""
    if is_result(outputs) and isinstance(before := _record(outputs[0]).get("arguments"), dict):
        why = f" ({'; '.join(argument_changes(before, arguments))})"
    raise InputError(f"The output exists already, with other content{why}", received=str(other), remedy=OVERWRITE)


def remember(outputs: Sequence[Path], arguments: Arguments) -> None:
    """Keep what an output is a result of."""
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
        found = json.loads(_place(output).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(outputs: Sequence[Path]) -> str:
    """A digest of files that belong together; of one that is missing likewise."""
    digest = hashlib.sha256()
    for output in outputs:
        data = output.read_bytes() if exists(output) and output.is_file() else b""
        digest.update(f"{len(data)} ".encode() + data)
    return digest.hexdigest()
