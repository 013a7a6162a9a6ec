"""`check_posts`: whether a model could write the gold answers of posts under the schema that decoding enforces."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from jsonschema import Draft202012Validator

from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.programs.adapter import PromptAdapter
from gmner.programs.models.families import ModelProfile
from gmner.signatures.alignment import occurrences, pieces
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.forms import Request, as_entity, form_of
from gmner.signatures.labels import COARSE, LabelSet, as_labels
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import MAX_SPAN_PIECES, Limits

_LEAST_IOU = 0.5
"""A box that keeps less than this of itself as integers of the model cannot be answered right under any protocol."""

FALSIFYING = ("duplicate_id", "not_annotated", "empty_text", "offsets", "same_place")
"""Faults of a valset's post that falsify its score; the others only cost the program a point."""

_NAMED = 5

_ANSWER = form_of(["reasoning", "entities"])


@dataclass(frozen=True, slots=True)
class GoldFault:
    """Why the gold answer of a post cannot be learned.

    Attributes:
        post_id: The post.
        kind: What it is, in snake case, such as `span_too_long`.
        message: The fact.
        place: The place of the post among those that were checked, from 0.
    """

    post_id: str
    kind: str
    message: str
    place: int

    def __str__(self) -> str:
        return f"{self.post_id!r}: {self.message}"


@dataclass(frozen=True, slots=True)
class GoldReport:
    """What `check_posts` found.

    Attributes:
        posts: Number of posts that were checked.
        faults: The faults, in the order of the posts; empty: every gold answer can be learned.
    """

    posts: int
    faults: tuple[GoldFault, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the posts with a fault, each once, in order."""
        return tuple(dict.fromkeys(fault.post_id for fault in self.faults))

    @property
    def refused(self) -> int:
        """Number of posts with a fault."""
        return len({fault.place for fault in self.faults})

    def kept(self, posts: Sequence[Post]) -> list[Post]:
        """The posts without a fault, of those that were checked."""
        refused = {fault.place for fault in self.faults}
        return [post for place, post in enumerate(posts) if place not in refused]

    def only(self, kinds: Iterable[str]) -> GoldReport:
        """The report with the faults of these kinds alone."""
        wanted = set(kinds)
        return GoldReport(self.posts, tuple(fault for fault in self.faults if fault.kind in wanted))

    def moved(self, places: Sequence[int], posts: int) -> GoldReport:
        """The report over a longer list.

        Args:
            places: The place in that list of each post that was checked.
            posts: Its length.
        """
        return GoldReport(posts, tuple(replace(fault, place=places[fault.place]) for fault in self.faults))

    def summary(self, each: int = 5) -> str:
        """A line with the counts, then a line for each of the first faults.

        Args:
            each: How many faults are written out; the number of further ones follows.
        """
        if not self.faults:
            return f"{self.posts} posts, every gold answer can be learned"
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(Counter(f.kind for f in self.faults).items()))
        lines = [f"{self.refused} of {counted(self.posts, 'post', 'posts')} cannot be learned: {kinds}"]
        lines += [str(fault) for fault in self.faults[:each]]
        if len(self.faults) > each:
            lines.append(f"... and {len(self.faults) - each} more faults")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {"posts": self.posts, "refused": self.refused, "faults": [asdict(fault) for fault in self.faults]}


def check_posts(
    posts: Iterable[Post],
    labels: LabelSet | Sequence[str] | Mapping[str, str] = COARSE,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    profile: ModelProfile = ModelProfile(),  # noqa: B008 - frozen
    *,
    regions: bool = True,
) -> GoldReport:
    """Check whether a model could write the gold answer of every post; every picture is opened once.

    Args:
        posts: Annotated posts.
        labels: The entity types of the program that learns.
        limits: Its bounds of an answer.
        profile: Box frame and resize rule of its model.
        regions: Whether posts without annotated regions are a fault, as they are in a trainset.

    Returns:
        The faults: `duplicate_id`, `not_annotated`, `no_regions`, `empty_text`, `not_unicode`, `offsets`, `same_place`,
        `unknown_type`, `blank_at_edge`, `span_too_long`, `cuts_a_word`, `too_many_entities`, `no_picture`,
        `bad_picture`, `box_outside`, `box_without_area`, `box_too_small`, and `schema` for what the schema refuses
        beside these.

    Raises:
        InputError: No posts in this sense, or labels that are none.
    """
    adapter = PromptAdapter(as_labels(labels), profile, limits)
    seen: set[str] = set()
    faults: list[GoldFault] = []
    count = 0
    for place, post in enumerate(posts):
        if not isinstance(post, Post):
            raise InputError("Not a post", received=post, accepted="gmner.Post")
        found = list(_post_faults(post, adapter, regions=regions))
        if post.id in seen:
            found.insert(0, ("duplicate_id", "an earlier post has the same id"))
        seen.add(post.id)
        faults += [GoldFault(post.id, kind, message, place) for kind, message in found]
        count += 1
    return GoldReport(count, tuple(faults))


def refusal(name: str, report: GoldReport, remedy: str) -> InputError:
    """The error that refuses a set of posts for what a report found.

    Args:
        name: The set, such as `trainset`.
        report: A report with faults.
        remedy: What to do.
    """
    further = len(report.faults) - _NAMED
    return InputError(
        f"The gold of {report.refused} of {report.posts} posts of the {name} cannot be used: "
        + "; ".join(map(str, report.faults[:_NAMED]))
        + (f"; and {further} more faults" if further > 0 else ""),
        accepted="gold that the program can write with its labels, limits and pictures",
        remedy=remedy,
    )


Found = Iterator[tuple[str, str]]


def _post_faults(post: Post, adapter: PromptAdapter, *, regions: bool) -> Found:
    if post.entities is None:
        yield "not_annotated", "it is not annotated"
    elif regions and not post.grounded:
        yield "no_regions", "its regions are not annotated: it would teach that nothing is shown"
    if not post.text.strip():
        yield "empty_text", "its text is empty"
    if not _is_unicode(post.text):
        yield "not_unicode", "its text holds a lone surrogate, half of a character, and no model can be given it"
    try:
        request = adapter.request({"text": post.text, "image": post.image})
    except (ImageError, InputError) as error:
        yield "bad_picture", str(error)
        request = None
    faults = list(_text_faults(post, adapter.labels, adapter.limits))
    if request is not None:
        faults += _box_faults(post, request)
        faults = faults or list(_schema_faults(post, request))
    yield from faults


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text_faults(post: Post, labels: LabelSet, limits: Limits) -> Found:
    """Faults of the mentions as such, and of their number."""
    if len(post.gold) > limits.entities:
        yield "too_many_entities", f"{len(post.gold)} entities, an answer has at most {limits.entities}"
    for key, times in Counter(entity.key for entity in post.gold).items():
        if times > 1:
            yield "same_place", f"{times} entities stand at {key[0]}:{key[1]}"
    for entity in post.gold:
        yield from _mention_faults(entity, post.text, labels)


def _mention_faults(entity: GoldEntity, text: str, labels: LabelSet) -> Found:
    span = entity.span
    if entity.type not in labels:
        yield "unknown_type", f"{span!r} has the type {entity.type!r}, which is none of {', '.join(labels)}"
    if not span or not 0 <= entity.start < entity.end or text[entity.start : entity.end] != span:
        yield "offsets", f"{span!r} does not stand at {entity.start}:{entity.end} of the text"
    elif span != span.strip():
        yield "blank_at_edge", f"{span!r} begins or ends with a blank"
    elif (entity.start, entity.end) not in occurrences(span, text):
        yield "cuts_a_word", f"{span!r} at {entity.start}:{entity.end} cuts a word of the text"
    elif len(pieces(span)) > MAX_SPAN_PIECES:
        yield "span_too_long", f"{span!r} has {len(pieces(span))} words and signs, a span at most {MAX_SPAN_PIECES}"


def _box_faults(post: Post, request: Request) -> Found:
    """Faults of boxes in the picture, and of the first box, which is trained on, in the frame of the model."""
    size = request.frame.size
    for entity in post.gold:
        if size is None:
            if entity.boxes:
                yield "no_picture", f"{entity.span!r} has a box, and the post no picture"
            continue
        for number, box in enumerate(entity.boxes):
            where = ", ".join(f"{value:g}" for value in box.as_tuple())
            if not box.inside(size):
                yield "box_outside", f"the box ({where}) of {entity.span!r} leaves the picture of {size[0]} x {size[1]}"
                continue
            if not box.area:
                yield "box_without_area", f"the box ({where}) of {entity.span!r} has no area"
            elif number == 0 and request.frame.decode(request.frame.encode(box)).iou(box) <= _LEAST_IOU:
                written = list(request.frame.encode(box))
                yield "box_too_small", f"the box ({where}) of {entity.span!r} is too small to be written as {written}"


def _schema_faults(post: Post, request: Request) -> Found:
    """What the schema of decoding refuses in the gold answer, as it would be written."""
    answer = _ANSWER.render({"reasoning": "", "entities": [as_entity(e) for e in post.gold]}, request)
    for error in Draft202012Validator(_ANSWER.schema(request)).iter_errors(json.loads(answer)):
        where = "/".join(map(str, error.absolute_path))
        yield "schema", f"the schema of the answer refuses {where or 'it'}: {str(error.instance)[:120]}"
