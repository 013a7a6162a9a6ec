"""`Corrections`: builds posts from the mentions and boxes that a person corrected in another tool."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gmner.data.export.source import checked_posts
from gmner.data.oddities import OddityLog, Posts
from gmner.data.post import Post
from gmner.data.readers.box_checks import box_oddities
from gmner.data.readers.image_folder import Folders, find_pictures
from gmner.data.readers.sources import UniqueIds
from gmner.signatures.boxes import Box, iou
from gmner.signatures.mentions import GoldEntity

_SAME_BOX = 0.9
"""IoU from which two boxes of a mention count as one that was drawn twice."""

_ROUNDING = 0.01
"""Pixels by which tools change a box that nobody moved."""


@dataclass(slots=True)
class Marked:
    """A mention as a person marked it; the boxes are pixels of the original image."""

    start: int
    end: int
    type: str
    boxes: list[Box] = field(default_factory=list)


class Corrections:
    """Builds corrected posts, and collects what a person left out or did twice.

    Args:
        path: The file, for oddities and for the default image folder.
        posts: The posts that were exported; None: they are not given.
        images: One or several image folders; None: the images of `posts`, or no images.

    Raises:
        InputError: An image folder does not exist, or a post id occurs twice.
    """

    def __init__(self, path: Path, posts: Iterable[Post] | None, images: Folders | None) -> None:
        self.findings = OddityLog()
        self._originals = None if posts is None else {post.id: post for post in checked_posts(posts)}
        self._pictures = None
        if images is not None or posts is None:
            self._pictures = find_pictures(path.parent, images, ("images",), self.findings, "warn")
        self._ids = UniqueIds(self.findings)

    def original(self, id: str) -> Post | None:
        """The exported post with this id, if it is given."""
        return None if self._originals is None else self._originals.get(id)

    def originals(self) -> list[Post]:
        """All exported posts; none if they are not given."""
        return [] if self._originals is None else list(self._originals.values())

    def post(
        self,
        draft: Post,
        marks: Sequence[Marked] | None,
        names: Sequence[Sequence[str]],
        where: str,
        *,
        check_boxes: bool = True,
    ) -> Post:
        """A corrected post.

        What the other tool does not know (tokens, scene, slice) is that of the exported post. Boxes that nobody moved
        get its coordinates. Without the exported posts, a post has all images that the file names, or none of them if
        one is missing: a box names its image by number, and must not move to another image.

        Args:
            draft: Id, text and further values that the file has.
            marks: The mentions; None: the post is not annotated.
            names: For each of its images, in order, the file names that it may have.
            where: Its place in the file, for the oddities.
            check_boxes: Whether to report odd boxes; False: a reader did.
        """
        given = self.original(draft.id)
        if self._originals is not None and given is None:
            message = f"no exported post has the id {draft.id}"
            self.findings.add("unknown_post", where, message, post=draft.id, quiet=True)
        post = self._joined(draft, given, names, where)
        post = replace(post, id=self._ids.of(draft.id, where))
        if marks is None:
            return replace(post, entities=None)
        boxes = [box for entity in (given.gold if given else ()) for box in entity.boxes]
        merged = self._merged(sorted(marks, key=lambda mark: (mark.start, mark.end)), post, where)
        entities = tuple(self._entity(mark, post, boxes, where) for mark in merged)
        grounded = post.grounded or any(entity.boxes for entity in entities)
        post = replace(post, entities=entities, grounded=grounded)
        for oddity in box_oddities(post, where) if check_boxes else ():
            self.findings.add(oddity.kind, where, oddity.message, post=post.id)
        return post

    def posts(self, posts: Iterable[Post]) -> Posts:
        """The corrected posts with all oddities."""
        return self.findings.posts(posts)

    def _joined(self, draft: Post, given: Post | None, names: Sequence[Sequence[str]], where: str) -> Post:
        found = self._found(draft.id, names, where)
        paths = tuple(path for path in found if path is not None)
        if len(paths) < len(found):  # the others would get other numbers, which the boxes refer to
            if paths and given is None:
                message = (
                    f"{len(paths)} of the {len(found)} images of post {draft.id} were found; it is read without any"
                )
                self.findings.add("images_incomplete", where, message, post=draft.id)
            paths = ()
        first, *more = paths or (() if given is None else given.images) or (draft.image,)
        images: dict[str, Any] = {"image": first, "more_images": tuple(more)}
        if given is None:
            return replace(draft, **images)
        fields: dict[str, Any] = {**images, "tokens": draft.tokens or given.tokens, "scene": given.scene}
        if draft.text != given.text:
            message = f"the text differs from that of the exported post, {given.text!r}"
            self.findings.add("text_differs", where, message, post=draft.id)
            fields["tokens"] = draft.tokens
        return replace(draft, **fields, slice=given.slice, grounded=given.grounded)

    def _found(self, id: str, names: Sequence[Sequence[str]], where: str) -> list[Path | None]:
        """The images of a post in order; None: missing, or the file does not name it."""
        if self._pictures is None:
            return []
        return [self._pictures.find(known, id, where) if known else None for known in names]

    def _merged(self, marks: Iterable[Marked], post: Post, where: str) -> list[Marked]:
        """One mark for each pair of offsets; marks that overlap are reported."""
        merged: list[Marked] = []
        for mark in marks:
            span = post.text[mark.start : mark.end]
            last = merged[-1] if merged else None
            if last is not None and (last.start, last.end) == (mark.start, mark.end):
                last.boxes += mark.boxes
                self._report_twice(last, mark, span, post, where)
                continue
            over = max(merged, key=lambda other: other.end, default=None)  # the one that reaches farthest
            if over is not None and mark.start < over.end:
                message = f"{span!r} overlaps {post.text[over.start : over.end]!r} (both are kept)"
                self.findings.add("overlapping_mentions", where, message, post=post.id)
            merged.append(Marked(mark.start, mark.end, mark.type, list(mark.boxes)))
        return merged

    def _report_twice(self, kept: Marked, mark: Marked, span: str, post: Post, where: str) -> None:
        if kept.type == mark.type:
            message = f"{span!r} at {mark.start} is marked twice and is read once, with the boxes of both"
            self.findings.add("duplicate_mention", where, message, post=post.id)
        else:
            message = f"{span!r} at {mark.start} is marked as {kept.type} and as {mark.type}; {kept.type} is read"
            self.findings.add("several_types", where, message, post=post.id)

    def _entity(self, mark: Marked, post: Post, originals: Sequence[Box], where: str) -> GoldEntity:
        span, boxes = post.text[mark.start : mark.end], [_unmoved(box, originals) for box in mark.boxes]
        for number, box in enumerate(boxes):
            if any(iou(box, other) >= _SAME_BOX for other in boxes[:number]):
                message = f"{span!r} has two boxes that are almost equal, {box.as_tuple()} (both are kept)"
                self.findings.add("duplicate_box", where, message, post=post.id)
        return GoldEntity(span, mark.start, mark.end, mark.type, tuple(boxes))


def places_of(words: str, text: str) -> list[int]:
    """Where words begin in a text, also inside of other words; places may overlap."""
    return [found.start() for found in re.finditer(f"(?={re.escape(words)})", text)]


def _unmoved(box: Box, originals: Sequence[Box]) -> Box:
    """The exported box that this box was before a tool rounded it; the box itself if there is none."""

    def distance(other: Box) -> float:
        return max(abs(a - b) for a, b in zip(box.as_tuple(), other.as_tuple(), strict=True))

    nearest = min((other for other in originals if other.picture == box.picture), key=distance, default=box)
    return nearest if distance(nearest) <= _ROUNDING else box
