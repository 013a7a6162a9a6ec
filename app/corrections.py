"""`CorrectionsFile`: corrected posts as JSONL that `gmner compile` reads, written whole after each correction."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from PIL import Image

from gmner.data.files.atomic import add_picture, whole_text
from gmner.data.files.locks import InUse, take_lock
from gmner.data.files.outputs import check_inputs, exists
from gmner.data.jsonl import read_posts, record_line, write_records
from gmner.data.post import Post
from gmner.data.records import located, post_with_images
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from filelock import FileLock

_IMAGES = "images"


class CorrectionsFile:
    """Corrected posts in a file; those that are in it are done. Iterating over it yields them.

    The file is created with the first correction. Beside it, `.NAME.app.json` records that `gmner app` wrote it, and a
    digest of its content; a file of another command is never changed. Images inside its folder are referred to,
    others are copied to `images/`. Threads may use it at the same time.

    Args:
        path: The file.
        inputs: Files and folders that are read, which the file must not replace.

    Raises:
        InputError: The folder does not exist, the file was not written by `gmner app` or was changed by something else
            since, or it is an input.
        DataError: The file is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], inputs: Iterable[Path] = ()) -> None:
        self.path = Path(path)
        self._file = Path(os.path.realpath(self.path))  # the target of a link is replaced, not the link
        self._thread = RLock()
        self._lock: FileLock | None = None
        self._locked = False
        if not self.path.parent.is_dir():
            raise InputError("The folder of the corrections does not exist", received=str(self.path.parent))
        check_inputs(self.path, [place for place in inputs if place.exists()], own=True)
        self._digest = self._checked()
        self._posts: dict[str, Post] = {}
        self._records: dict[str, Mapping[str, Any]] = {}
        if self._digest:
            self._posts = {post.id: post for post in read_posts(self.path)}
            self._records = {id: self._record(post) for id, post in self._posts.items()}

    def __len__(self) -> int:
        return len(self._posts)

    def __contains__(self, id: object) -> bool:
        """Whether the post with this id is done."""
        return id in self._posts

    def __iter__(self) -> Iterator[Post]:
        with self._thread:
            return iter(list(self._posts.values()))

    def get(self, id: str) -> Post | None:
        """The corrected post with this id, or None."""
        return self._posts.get(id)

    def revision(self, id: str) -> str:
        """A name for the present correction of a post; empty if there is none. Equal corrections have equal names."""
        record = self._records.get(id)
        return "" if record is None else hashlib.sha256(record_line(record).encode()).hexdigest()[:16]

    def opened(self, id: str) -> tuple[Post | None, str]:
        """The corrected post with this id, or None, and its `revision`, read together."""
        with self._thread:
            return self.get(id), self.revision(id)

    def save(self, post: Post, revision: str | None = None, *, copy: bool = False) -> str:
        """Add a corrected post, or replace its earlier correction, and write the file.

        Args:
            post: The post.
            revision: The `revision` from which this correction was made; None: replace any.
            copy: Whether to copy images inside the folder of the file, too, because they are uploads.

        Returns:
            The `revision` of the saved correction.

        Raises:
            InputError: The post is not annotated, another process writes the file, or the post has another correction
                than `revision`, because it is also open elsewhere.
            ImageError: An image of the post is missing.
            OSError: The file cannot be written; it and the corrections are then as before.
        """
        if post.entities is None:
            raise InputError("A corrected post must have entities", received=post.id, accepted="a list, maybe empty")
        with self._thread:
            self._take()
            record = self._record(post, copy=copy)
            if record == self._records.get(post.id):
                return self.revision(post.id)
            self._check_revision(post.id, revision)
            self._write({**self._records, post.id: record})
            # As a reader of the file will see it, so that the file does not depend on uploads that are deleted.
            self._posts[post.id] = self._kept(post, record)
            return self.revision(post.id)

    def discard(self, id: str, revision: str | None = None) -> None:
        """Remove the correction of a post and write the file; nothing happens if there is none.

        Args:
            id: The id of the post.
            revision: See `save`.

        Raises:
            InputError: Another process writes the file, or the post has another correction than `revision`.
            OSError: The file cannot be written.
        """
        with self._thread:
            if id in self._posts:
                self._check_revision(id, revision)
                self._take()
                self._write({name: record for name, record in self._records.items() if name != id})
                del self._posts[id]

    def _check_revision(self, id: str, revision: str | None) -> None:
        if revision is not None and revision != self.revision(id):
            fact = "The post was corrected elsewhere since it was opened here"
            raise InputError(fact, received=id, remedy="Open it again to see that correction")

    def close(self) -> None:
        """Let other processes write the file."""
        with self._thread:
            if self._lock is not None:
                self._lock.release()
            self._lock, self._locked = None, False

    def _checked(self) -> str:
        """The digest of the file after checking that it is ours; empty if it does not exist."""
        if not exists(self.path):
            return ""
        if not self.path.is_file():
            raise InputError("The corrections are not a file", received=str(self.path), accepted="a .jsonl file")
        known, digest = self._known(), _digest(self.path)
        remedy = "Choose another file for the corrections"
        if not known:
            raise InputError("The file was not written by gmner app", received=str(self.path), remedy=remedy)
        if digest not in known:
            fact = "The corrections were changed by something else than gmner app"
            remedy += f", or delete {self._note.name} and rename the file to read it as posts"
            raise InputError(fact, received=str(self.path), remedy=remedy)
        return digest

    @property
    def _note(self) -> Path:
        return self._beside("app.json")

    def _beside(self, kind: str) -> Path:
        """A hidden file beside the file."""
        return self._file.with_name(f".{self._file.name[:200]}.{kind}")

    def _known(self) -> list[str]:
        """The digests of our content: before and after the last write, which may have been interrupted."""
        try:
            record = json.loads(self._note.read_bytes())
        except (OSError, ValueError, RecursionError):
            return []
        known = record.get("sha256") if isinstance(record, dict) else None
        return [digest for digest in known if isinstance(digest, str)] if isinstance(known, list) else []

    def _take(self) -> None:
        """Lock the file, and refuse if it is no longer what was read."""
        if not self._locked:
            try:
                self._lock = take_lock(self._beside("lock"))
            except InUse as error:
                fact = f"The corrections are being written by {error.holder}"
                raise InputError(
                    fact, received=str(self.path), remedy="Close the other app, or use another file"
                ) from error
            self._locked = True
        now = _digest(self.path) if exists(self.path) else ""
        if now != self._digest:
            fact = "The corrections were changed by something else while the app was running"
            raise InputError(fact, received=str(self.path), remedy="Start the app again")

    def _write(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        draft = self._beside("new")
        try:
            write_records(draft, records.values())
            after = _digest(draft)
            with whole_text(self._note) as file:
                json.dump({"written_by": "gmner app", "sha256": [*filter(None, (self._digest, after))]}, file)
            os.replace(draft, self._file)
        finally:
            draft.unlink(missing_ok=True)
        self._digest, self._records = after, dict(records)

    def _record(self, post: Post, *, copy: bool = False) -> dict[str, Any]:
        """The JSON record of a post; images outside of the folder are copied into it."""
        slug = re.sub(r"[^A-Za-z0-9_-]+", "_", post.id)[:60] or "post"
        with located(f"post {post.id!r}"):
            images = [self._place(image, f"{slug}_{number}", copy) for number, image in enumerate(post.images, 1)]
        return post_with_images(post, images)

    def _place(self, image: Path | Image.Image, stem: str, copy: bool) -> str:
        """The path of an image relative to the folder of the file."""
        folder = Path(os.path.realpath(self.path.parent))
        if isinstance(image, Path) and not copy:
            real = Path(os.path.realpath(image))
            if real.is_relative_to(folder):
                return real.relative_to(folder).as_posix()
        images = folder / _IMAGES
        images.mkdir(exist_ok=True)
        if not Path(os.path.realpath(images)).is_relative_to(folder):
            fact = "Images cannot be copied: their folder is a link to a place outside of that of the corrections"
            raise InputError(fact, received=str(images), remedy="Choose another file for the corrections")
        return f"{_IMAGES}/{add_picture(image, images / stem).name}"

    def _kept(self, post: Post, record: Mapping[str, Any]) -> Post:
        names = [record["image"], *record.get("more_images", ())]
        first, *more = [None if name is None else self.path.parent / name for name in names]
        return replace(post, image=first, more_images=tuple(path for path in more if path is not None))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
