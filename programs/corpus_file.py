"""The output file of a corpus run, which can be resumed and is never mixed with the predictions of another run.

Next to the output, an unfinished run keeps `<file>.part` (its arguments, then one prediction per line), and a finished
run keeps `<file>.run.json` (its arguments, a digest of every post, and a digest of the output).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash
from PIL import Image

from gmner.data.files.atomic import whole_text
from gmner.data.files.locks import InUse, take_lock
from gmner.data.files.outputs import OVERWRITE, exists
from gmner.data.images.opened_file import open_inside
from gmner.data.images.opening import local_path, open_image
from gmner.data.jsonl import record_line
from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.errors import DataError, ImageError, InputError

Run = Mapping[str, str]
"""The settings that determine the predictions of a run, apart from the posts, by name."""

_SOURCE, _ARGUMENTS = "source", "arguments"
_NOT_RECORDED = ("profile", "sampling")
_EARLIER = {"limit_pictures": "None", "thinking": "null"}  # settings that runs of earlier versions do not record
_NAMED = 3
_RECORD = {"run": dict, "posts": dict, "sha256": str}
_NOT_OURS = "The output already exists, and this command did not write it or it was changed since"


def source_digest(post: Post, root: Path | None = None) -> str:
    """A digest (16 hexadecimal digits) of a post's text and of the content of its images, whatever their paths.

    Args:
        post: The post.
        root: The folder that relative image paths start from.
    """
    digest = _text_digest(post)
    try:
        for image in post.images:
            _add_image(digest, image, root)
    except (ImageError, OSError):
        return _missing_digest(post)
    return digest.hexdigest()


def _add_image(digest: xxhash.xxh3_64, image: Path | Image.Image, root: Path | None) -> None:
    if isinstance(image, Image.Image):
        digest.update(f"{image.mode}{image.size}".encode() + open_image(image).tobytes())
        return
    file, _ = open_inside(local_path(image, root), root)
    with file:
        while block := file.read(1 << 20):
            digest.update(block)


def _text_digest(post: Post) -> xxhash.xxh3_64:
    return xxhash.xxh3_64(post.text.encode("utf-8", "surrogatepass"))


def _missing_digest(post: Post) -> str:
    """The digest of a post whose image cannot be opened."""
    digest = _text_digest(post)
    digest.update(b"missing")
    return digest.hexdigest()


class CorpusFile:
    """The output of a corpus run; `opened` is a context manager that holds the lock of the file.

    Args:
        out: The output file; a symbolic link is followed.
        run: The settings of the run.
        posts: The posts, with unique ids.
        root: The folder that relative image paths start from.
        overwrite: Whether a file of another run may be replaced.
        arguments: Arguments that may differ when a run is resumed, by name, such as the image folder; differences are
            added to `notes`.

    Attributes:
        done: Predictions that are kept, by post id; failed ones are not.
        notes: Changes since the run was stopped, one sentence each.

    Raises:
        InputError: Another process writes this file; the file exists and belongs to another run; or `<file>.part`
            belongs to a run with other settings or posts.
    """

    def __init__(
        self,
        out: Path,
        run: Run,
        posts: Sequence[Post],
        root: Path | None = None,
        *,
        overwrite: bool = False,
        arguments: Mapping[str, str | None] | None = None,
    ) -> None:
        self.out = Path(os.path.realpath(out))
        self.part = self.out.with_name(self.out.name + ".part")
        self.sidecar = self.out.with_name(self.out.name + ".run.json")
        self.run, self.posts, self.overwrite = dict(run), {post.id: post for post in posts}, overwrite
        self.sources = {post.id: source_digest(post, root) for post in posts}
        self.arguments = dict(arguments or {})
        self._before: dict[str, Any] = self.arguments
        self.done: dict[str, Prediction] = {}
        self.notes: list[str] = []

    @contextmanager
    def opened(self) -> Iterator[CorpusFile]:
        """Take the lock and read the existing files."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = take_lock(self.out.with_name(f".{self.out.name}.lock"))
        except InUse as error:
            raise InputError(
                f"Another process is writing this file: {error.holder}",
                received=str(self.out),
                remedy="Wait until it has finished, or choose another output",
            ) from error
        try:
            self._read()
            yield self
        finally:
            if lock is not None:
                lock.release()

    def append(self, prediction: Prediction) -> None:
        """Save a prediction; killing the process loses at most the line that is being written."""
        with self.part.open("a", encoding="utf-8", newline="\n") as file:
            file.write(self._line(prediction))
        self.done[prediction.id] = prediction

    def finish(self, predictions: Sequence[Prediction]) -> None:
        """Write the record of the run, then the complete output."""
        text = "".join(record_line(prediction.to_record()) + "\n" for prediction in predictions)
        # Both digests are recorded: a kill between the two writes leaves the old output next to the new record.
        before = _sha256(self.out.read_bytes()) if self.out.is_file() else None
        state: dict[str, Any] = {
            "run": self.run,
            "posts": self.sources,
            "sha256": _sha256(text.encode()),
            "before": before,
        }
        state[_ARGUMENTS] = self.arguments
        with whole_text(self.sidecar) as file:
            json.dump(state, file)
        with whole_text(self.out) as file:
            file.write(text)
        self.part.unlink(missing_ok=True)

    def _line(self, prediction: Prediction) -> str:
        return record_line({**prediction.to_record(), _SOURCE: self.sources[prediction.id]}) + "\n"

    def _read(self) -> None:
        if not self.overwrite:
            self._check_foreign_files()
        if self.part.exists():
            saved = self._unfinished()
        elif exists(self.out) and not self.overwrite:
            saved = self._finished()
        else:
            saved = []
        if saved:
            self.notes += argument_changes(self._before, self.arguments)
        self._keep_without_image(saved)
        failed = sum(prediction.error is not None for prediction, _ in saved)
        changed = [p.id for p, source in saved if p.error is None and source not in (None, self.sources[p.id])]
        if failed:
            self.notes.append(f"Retrying {_posts(failed)} that failed before")
        if changed:
            ids = ", ".join(changed[:_NAMED])
            self.notes.append(f"Reprocessing {_posts(len(changed))} whose image has changed: {ids}")
        for prediction, source in saved:
            if prediction.error is None and source in (None, self.sources[prediction.id]):
                self.done[prediction.id] = prediction
        stale = self._before != self.arguments if self.part.exists() else len(self.done) < len(self.posts)
        if stale:
            head = {**self.run, _ARGUMENTS: self.arguments} if self.arguments else self.run
            lines = [record_line(head) + "\n", *(self._line(prediction) for prediction in self.done.values())]
            with whole_text(self.part) as file:
                file.writelines(lines)

    def _keep_without_image(self, saved: Sequence[tuple[Prediction, str | None]]) -> None:
        """Keep predictions whose image is missing now: processed again, these posts would only fail."""
        missing = []
        for prediction, source in saved:
            digest = self.sources[prediction.id]
            if (
                prediction.error is None
                and source not in (None, digest)
                and digest == _missing_digest(self.posts[prediction.id])
            ):
                self.sources[prediction.id] = source
                missing.append(prediction.id)
        if missing:
            ids = ", ".join(missing[:_NAMED])
            self.notes.append(f"Keeping the predictions for {_posts(len(missing))} whose image is missing now: {ids}")

    def _check_foreign_files(self) -> None:
        """Refuse to replace files that were not written by a corpus run."""
        if self.sidecar.exists() and self._recorded() is None:
            raise InputError("The file for the record of the run already exists and contains something else",
                             received=str(self.sidecar), remedy=OVERWRITE)  # fmt: skip
        if self.part.exists() and exists(self.out) and self._state() is None:
            raise InputError(_NOT_OURS, received=str(self.out), remedy=OVERWRITE)

    def _unfinished(self) -> list[tuple[Prediction, str | None]]:
        """The predictions of a stopped run; an incomplete last line is dropped."""
        data = self.part.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            head, *records = [json.loads(line) for line in whole.splitlines()] or [None]
            sources = [record.pop(_SOURCE, None) for record in records]
            saved = [(Prediction.from_record(r), s) for r, s in zip(records, sources, strict=True)]
        except (ValueError, TypeError, DataError, AttributeError) as error:
            if self.overwrite:
                self.part.unlink()
                return []
            raise InputError(
                "The file is not the partial output of a stopped run",
                received=str(self.part),
                remedy=f"Delete it: {error}",
            ) from error
        if head is None and not _cut_head(data):
            raise InputError(
                "The file is not the partial output of a stopped run",
                received=str(self.part),
                remedy="Move or delete it",
            )
        if head is None:
            self.part.unlink()
            return []
        differing = self._differing(head, {p.id: p.text for p, _ in saved})
        if differing and self.overwrite:
            self.part.unlink()
            return []
        if differing:
            raise InputError(
                f"The file belongs to a stopped run with other {', '.join(differing)}",
                received=str(self.part),
                remedy="Delete it to start again, pass --overwrite, or choose another output",
            )
        if len(whole) < len(data):
            os.truncate(self.part, len(whole))
        self._recall(head)
        return saved

    def _finished(self) -> list[tuple[Prediction, str | None]]:
        """The predictions of a finished run with the same settings; refuses any other file."""
        state = self._state()
        if state is None:
            raise InputError(_NOT_OURS, received=str(self.out), remedy=OVERWRITE)
        differing = self._other_settings(state["run"])
        if set(state["posts"]) != set(self.sources):
            differing.append(f"posts ({len(state['posts'])} before, {len(self.sources)} now)")
        if differing:
            raise InputError(
                f"The output already exists and is the result of a run with other {', '.join(differing)}",
                received=str(self.out),
                remedy=OVERWRITE,
            )
        self._recall(state)
        records = [json.loads(line) for line in self.out.read_bytes().splitlines()]
        saved = [Prediction.from_record(record) for record in records]
        changed_texts = [p.id for p in saved if p.text != self.posts[p.id].text]
        if changed_texts:
            raise InputError(
                "The output already exists and is the result of a run with other posts",
                received=changed_texts[0],
                remedy=OVERWRITE,
            )
        return [(prediction, state["posts"][prediction.id]) for prediction in saved]

    def _recall(self, record: Mapping[str, Any]) -> None:
        """Store the arguments of the earlier run; a record without them is assumed to have the current ones."""
        before = record.get(_ARGUMENTS)
        self._before = before if isinstance(before, dict) else self.arguments

    def _state(self) -> dict[str, Any] | None:
        """The record of the run, if it describes the current output file; else None."""
        state = self._recorded()
        if state is None or not self.out.is_file():
            return None
        digests = {state["sha256"], state.get("before") if self.part.exists() else None}
        return state if _sha256(self.out.read_bytes()) in digests else None

    def _recorded(self) -> dict[str, Any] | None:
        """The record next to the output; None if there is none, or the file is something else."""
        try:
            state = json.loads(self.sidecar.read_bytes())
            valid = all(isinstance(state[name], kind) for name, kind in _RECORD.items())
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return state if valid else None

    def _other_settings(self, old: Mapping[str, Any]) -> list[str]:
        """The names of the settings that differ; what earlier versions did not record is assumed to be equal."""
        assumed = {name: self.run[name] for name in _NOT_RECORDED if name in self.run}
        before = {**assumed, **_EARLIER, **old} if old else {}
        return [name for name in self.run if before.get(name) != self.run[name]]

    def _differing(self, head: object, texts: Mapping[str, str]) -> list[str]:
        old = head if isinstance(head, dict) else {}
        differing = self._other_settings(old)
        if any(post_id not in self.posts or self.posts[post_id].text != text for post_id, text in texts.items()):
            differing.append("posts")
        return differing


def argument_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The arguments that differ, each as `--images was a, now b`."""
    names = [name for name in dict.fromkeys((*before, *now)) if before.get(name) != now.get(name)]
    return [f"{name} was {_value_text(before.get(name))}, now {_value_text(now.get(name))}" for name in names]


def _posts(number: int) -> str:
    return counted(number, "post", "posts")


def _value_text(value: Any) -> str:
    return "not given" if value is None else str(value)


def _cut_head(data: bytes) -> bool:
    """Whether bytes without a line end are the incomplete first line of a part file."""
    start = b'{"program"'
    return data.startswith(start) or start.startswith(data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
