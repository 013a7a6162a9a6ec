"""Fault injection: kills a function at each of its writes in turn, like SIGKILL or a power failure.

    for kill in kills(work, tmp_path, prepare):
        assert (kill.folder / "a.json").read_text() in (OLD, NEW), kill

Each round prepares a new folder, forks, and runs `work(folder)` in the child until its n-th call that changes a file in
the folder: opening for writing, writing, truncating, renaming, removing, creating a file, folder or link. The child
dies there without any cleanup: Python's buffers are lost, and `finally` does not run. A call that writes bytes is
tested twice: killed before it, and after half of its bytes. The last round is the one in which the function completes.

Only calls made from Python are intercepted, not those of C++ or Rust libraries that open files themselves.
"""

import builtins
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[Path], object]
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
_FOLDER_AT = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 2}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_FAILED = 3


@dataclass(frozen=True)
class Kill:
    """The result of a round.

    Attributes:
        folder: The folder after the kill.
        at: The call before which the child was killed; empty if the function completed.
        torn: Whether half of the bytes of this call were written.
    """

    folder: Path
    at: str
    torn: bool = False


def kills(work: Work, root: Path, prepare: Work = lambda folder: None, *, most: int = 400) -> Iterator[Kill]:
    """Yield the folder after each kill, and finally after the completed round.

    Args:
        work: The function to kill. It takes the folder and changes files only there.
        root: Where the folders of the rounds are created.
        prepare: Fills the folder first; runs in this process without being killed.
        most: Largest number of rounds.
    """
    for number in range(1, most):
        yield (kill := _round(work, prepare, root / f"kill-{number:03d}", number))
        if not kill.at:
            return
        if kill.at.startswith("write "):
            yield _round(work, prepare, root / f"kill-{number:03d}-torn", number, torn=True)
    raise AssertionError(f"the work makes more than {most} writes")


def _round(work: Work, prepare: Work, folder: Path, number: int, *, torn: bool = False) -> Kill:
    folder.mkdir(parents=True)
    prepare(folder)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = _FAILED
        try:
            Killer(folder, number, torn, writing).install()
            work(folder)
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        at = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Kill(folder, at, torn)
    assert os.WIFEXITED(status), f"the work died at {at or 'an unknown place'} by signal {os.WTERMSIG(status)}"
    assert os.WEXITSTATUS(status) == 0, "the work raised, see its traceback in stderr"
    return Kill(folder, "")


class Killer:
    """Kills this process at the n-th change of a file inside a folder."""

    def __init__(self, folder: Path, number: int, torn: bool, pipe: int) -> None:
        self.folder, self.left, self.torn, self.pipe = os.path.realpath(folder), number, torn, pipe

    def install(self) -> None:
        """Intercept every change by Python code from now on; only for the child, as audit hooks cannot be removed."""
        sys.addaudithook(self._audit)
        builtins.open = io.open = self._open  # type: ignore[assignment]
        for name in ("write", "pwrite", "sendfile", "copy_file_range", "ftruncate"):
            if hasattr(os, name):
                setattr(os, name, self._by_descriptor(name, getattr(os, name)))

    def change(self, what: str, path: Any, tear: Callable[[], object] | None = None) -> None:
        """Count a call that is about to change a file, and kill this process at the n-th one."""
        if not self._inside(path):
            return
        self.left -= 1
        if self.left:
            return
        path = _path_of(path) if isinstance(path, int) else os.fsdecode(path)
        if self.torn and tear is not None:
            tear()
        _SAY(self.pipe, f"{what} {path}".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def _inside(self, path: Any) -> bool:
        try:
            path = _path_of(path) if isinstance(path, int) else os.fsdecode(path)
            name = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        except (TypeError, ValueError):
            return False
        return name.startswith(os.fsdecode(self.folder) + os.sep)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & _WRITES:
            self.change("open", args[0])
        elif event in _CHANGES:
            path = args[1] if event in ("os.link", "os.symlink") else args[0]
            inside = args[_FOLDER_AT[event]] if event in _FOLDER_AT else -1
            self.change(event, path if inside == -1 else os.path.join(_path_of(inside), os.fsdecode(path)))

    def _open(self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+"):
            return _OPEN(file, mode, buffering, *args, **options)
        names = ("encoding", "errors", "newline", "closefd", "opener")
        given = dict(zip(names, args, strict=False)) | options
        plain = mode.replace("b", "").replace("t", "")
        raw = _KilledFile(self, file, plain, given.pop("closefd", True), given.pop("opener", None))
        if buffering == 0:
            return raw
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **given)

    def _by_descriptor(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        what = "os.ftruncate" if name == "ftruncate" else "write"

        def tear(args: tuple[Any, ...]) -> None:
            if name in ("write", "pwrite"):
                call(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
            elif name == "sendfile":
                call(args[0], args[1], args[2], os.fstat(args[1]).st_size // 2)
            elif name == "copy_file_range":
                call(args[0], args[1], os.fstat(args[0]).st_size // 2)

        def watched(*args: Any, **options: Any) -> Any:
            # The last sendfile of a copy writes nothing; it signals the end of the source.
            self.change(what, args[1] if name == "copy_file_range" else args[0], lambda: tear(args))
            return call(*args, **options)

        return watched


class _KilledFile(io.FileIO):
    """A raw file whose writes are counted; Python's buffers are on top of it."""

    def __init__(self, killer: Killer, file: Any, mode: str, closefd: bool, opener: Any) -> None:
        self._killer = killer
        super().__init__(file, mode, closefd, opener)

    def write(self, data: Any) -> int:
        """Count the call, then write."""
        half = bytes(data)[: len(data) // 2]
        self._killer.change("write", self.fileno(), lambda: super(_KilledFile, self).write(half))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        """Count the call, then truncate."""
        self._killer.change("os.ftruncate", self.fileno())
        return super().truncate(size)


def _path_of(descriptor: int) -> str:
    """The path of an open file; empty if it has none or the system does not report it."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


_OPEN, _SAY = io.open, os.write
