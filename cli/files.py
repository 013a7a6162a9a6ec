"""The files of a command: `-` for standard input and output, and checks that an output replaces no other file."""

from __future__ import annotations

import filecmp
import hashlib
import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmner.cli.command import Command
from gmner.cli.own_outputs import Arguments, is_own, refuse, remember
from gmner.data.files.outputs import OVERWRITE, check_inputs, check_outside, exists, is_stream, other_than_posts
from gmner.signatures.errors import InputError
from gmner.signatures.terminal import printable

if TYPE_CHECKING:
    from gmner.data.post import Post

STANDARD = Path("-")
"""Standard input or standard output, as a path of the command line."""

_POSTS = ("posts", "gold", "train", "val", "made_on")
_ANSWERS = ("predictions", "against")
INPUTS = (*_POSTS, *_ANSWERS, "instances", "bundle", "model")
"""Arguments that name inputs, in every command that has them."""

_OUTPUTS = ("output", "sheet")
_WHOLE = ("bundle", "model")
_BUNDLE = "bundle.json"


def prepare(command: Command, given: Namespace, stack: ExitStack) -> None:
    """Check what a command reads and writes before it starts, and read standard input if `-` names it.

    Args:
        command: The command.
        given: The parsed arguments; `-` among the inputs is replaced by the path of a temporary file.
        stack: Removes that file when the command ends.

    Raises:
        InputError: The command does not accept `-`, or an output would replace an input.
    """
    rules = command.files
    _connect_standard_input(command, given, stack)
    outputs = [path for name in _OUTPUTS if (path := getattr(given, name, None)) is not None]
    if STANDARD in outputs and not rules.standard_output:
        raise InputError(f"gmner {command.name} does not write to standard output", accepted="a path with -o")
    # `posts` of `gmner world` is a number.
    named = (value for name in (*INPUTS, *rules.inputs) for value in _listed(getattr(given, name, None)))
    read = [Path(value) for value in named if isinstance(value, (str, Path))]
    images = [Path(folder) for folder in _listed(getattr(given, "images", None))]
    outputs = [output for output in outputs if output != STANDARD]
    outputs += [path.with_name(path.name + suffix) for path in outputs for suffix in rules.kept_beside]
    for output in outputs:
        own = rules.may_replace(given, output)
        check_inputs(output, [path for path in read if path.exists()], own=own)
        check_inputs(output, [path for path in images if path.exists()], own=True)  # the images: see check_images
        check_outside(output, [Path(value) for name in _WHOLE if (value := getattr(given, name, None)) is not None])


def check_images(output: Path, posts: Sequence[Post]) -> None:
    """Refuse an output that is the image of a post.

    Raises:
        InputError: It is.
    """
    if output != STANDARD and output.exists():
        images = [image for post in posts for image in post.images if isinstance(image, Path)]
        check_inputs(output, images, own=True)


@contextmanager
def written(output: Path, *, overwrite: bool, own: Arguments | None = None) -> Iterator[Path]:
    """The path to which a command writes its output without replacing another file.

    Args:
        output: The output.
        overwrite: Whether something else there may be replaced.
        own: The arguments of the command. With them, a file that the same command wrote, and nothing else has changed,
            is replaced.

    Yields:
        `output` itself. If a file exists there that must not be replaced, a temporary path; the written file must then
        be equal to the existing one. For `-`, a temporary path, whose file is then copied to standard output.

    Raises:
        InputError: `output` already exists with other content, and `overwrite` is false.
    """
    stream = output != STANDARD and is_stream(output)
    replaces = overwrite or stream or not exists(output) or (own is not None and is_own([output], own))
    if output != STANDARD and replaces:
        yield output
        if own is not None and not stream:
            remember([output], own)
        return
    with tempfile.TemporaryDirectory(prefix="gmner-") as folder:
        place = Path(folder) / (output.name if output != STANDARD else "output")
        yield place
        if output == STANDARD:
            sys.stdout.write(printable(place.read_text(encoding="utf-8")))  # which is JSON
        elif not _equal(place, output):
            refuse([output], output, own or {})


def write_into(folder: Path, write: Callable[[Path], None], *, overwrite: bool) -> None:
    """Write files into a folder that may hold others, such as those of another split.

    Args:
        folder: The folder.
        write: Writes them, all or none.
        overwrite: Whether files with other content may be replaced.

    Raises:
        InputError: One of them already exists with other content, and `overwrite` is false.
    """
    if not overwrite and exists(folder):
        with tempfile.TemporaryDirectory(prefix="gmner-") as work:
            write(new := Path(work) / "new")
            for path in sorted(new.rglob("*")):
                there = folder / path.relative_to(new)
                if path.is_file() and exists(there) and not _equal(path, there):
                    refuse([folder], there, {})
    write(folder)


def write_beside(outputs: Sequence[Path], write: Callable[[Path], None], *, overwrite: bool, own: Arguments) -> None:
    """Write several text files that belong together, or none of them.

    Args:
        outputs: The files; `write` is called with the path of the first one and writes the others next to it.
        write: Writes them.
        overwrite: Whether files with other content may be replaced.
        own: See `written`.

    Raises:
        InputError: One of them already exists with other content, and `overwrite` is false.
    """
    from gmner.data.files.atomic import whole_text

    with tempfile.TemporaryDirectory(prefix="gmner-") as folder:
        write(Path(folder) / outputs[0].name)
        texts = {output: (Path(folder) / output.name).read_text(encoding="utf-8") for output in outputs}
        replaces = overwrite or is_own(outputs, own)
        for output in outputs:
            if not replaces and exists(output) and not _equal(Path(folder) / output.name, output):
                refuse(outputs, output, own)
        for output, text in texts.items():
            with whole_text(output) as file:
                file.write(text)
    remember(outputs, own)


def check_run_dir(run_dir: Path, inputs: Sequence[Path]) -> None:
    """Refuse a run directory that is a file, an input, or a folder with files but without the arguments of a run.

    Raises:
        InputError: It is one of these.
    """
    check_inputs(run_dir, [path for path in inputs if path.exists()], own=True)
    if exists(run_dir) and not (run_dir.is_dir() and (run_dir / "config.json").is_file()):
        names = [path.name for path in run_dir.iterdir()] if run_dir.is_dir() else [""]
        foreign = sorted(name for name in names if name not in ("lock", _BUNDLE) and not name.startswith("."))
        if foreign:
            fact = "The run directory contains something that does not belong to a run"
            remedy = "Choose a new or an empty folder"
            raise InputError(fact, received=str(run_dir / foreign[0]), remedy=remedy)


def check_bundle_place(output: Path, run_dir: Path, *, overwrite: bool) -> None:
    """Refuse to replace a bundle that the compile of this run directory did not write.

    Raises:
        InputError: Another bundle exists there, or one that was changed, and `overwrite` is false; or `output` and
            `run_dir` are the same folder.
    """
    check_inputs(output, [run_dir] if run_dir.exists() else [], own=True)
    if overwrite or not exists(output):
        return
    record = _read(run_dir / _BUNDLE)
    if record.get("output") != str(output.resolve()) or record.get("manifest") != _manifest(output):
        fact = "The output already exists and was not written by the compile of this run directory"
        raise InputError(fact, received=str(output), remedy=OVERWRITE)


def keep_bundle_place(output: Path, run_dir: Path) -> None:
    """Record in the run directory which bundle its compile wrote."""
    from gmner.data.files.atomic import whole_text

    with whole_text(run_dir / _BUNDLE) as file:
        json.dump({"output": str(output.resolve()), "manifest": _manifest(output)}, file)


def check_fetched_place(output: Path, source: Path, *, overwrite: bool) -> None:
    """Refuse to fetch into a folder that contains anything but an earlier fetch of the same posts.

    Raises:
        InputError: It does, and `overwrite` is false.
    """
    if overwrite or not exists(output):
        return
    old = output / "posts.jsonl"
    if other_than_posts(output) or (old.exists() and _texts(old) != _texts(source)):
        fact = "The output folder contains something other than an earlier fetch of these posts"
        raise InputError(fact, received=str(output), remedy=OVERWRITE)


def _connect_standard_input(command: Command, given: Namespace, stack: ExitStack) -> None:
    names = [name for name in (*_POSTS, *_ANSWERS) if STANDARD in _listed(getattr(given, name, None))]
    if not names:
        return
    if not command.files.standard_input:
        raise InputError(f"gmner {command.name} does not read standard input", received="-", accepted="a path")
    if len(names) > 1:
        raise InputError("Only one argument can be read from standard input", received=names)
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gmner-"))) / "stdin.jsonl"
    place.write_bytes(sys.stdin.buffer.read())
    setattr(given, names[0], place)
    if names[0] in _POSTS and given.images is None:
        given.images = [Path.cwd()]


def _listed(value: Any) -> list[Any]:
    return [] if value is None else (list(value) if isinstance(value, (list, tuple)) else [value])


def _equal(one: Path, other: Path) -> bool:
    """Whether two files, or the files of two folders, have the same content."""
    if one.is_dir() != other.is_dir():
        return False
    if one.is_file():
        return filecmp.cmp(one, other, shallow=False)
    names = [sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in (one, other)]
    return names[0] == names[1] and all(
        (one / name).is_dir() or filecmp.cmp(one / name, other / name, shallow=False) for name in names[0]
    )


def _manifest(bundle: Path) -> str:
    file = bundle / "manifest.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _texts(path: Path) -> list[Any] | None:
    """Ids and texts of a JSONL file of posts; None if it is not one."""
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        return [(record["id"], record["text"]) for record in records]
    except (OSError, ValueError, KeyError, TypeError):
        return None
