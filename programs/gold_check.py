"""`check_posts`: finds posts whose gold answer a model cannot generate under the schema that decoding enforces."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators

from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.programs.adapter import PromptAdapter
from gmner.programs.models.families import ModelProfile
from gmner.programs.prompt_images import picture_inputs
from gmner.signatures.alignment import occurrences
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.forms import Request, as_entity, form_of
from gmner.signatures.labels import COARSE, LabelSet, as_labels
from gmner.signatures.mentions import EXPRESSION, MAIN_TASK, GoldEntity, Task
from gmner.signatures.schema import Limits
from gmner.signatures.segmentation import MAX_SPAN_WORDS, is_cut_in_cluster, is_space, length_in_words

_LEAST_IOU = 0.5
"""A box whose IoU with its own rounded coordinates is not above this cannot be predicted correctly in any protocol."""

FALSIFYING = ("duplicate_id", "not_annotated", "no_regions", "expression", "empty_text", "offsets", "same_place")
"""Faults that make the score of a valset wrong; the other faults only make full marks impossible."""

_NAMED = 5

_LISTS: Mapping[Task, str] = {"gmner": "entities", "mner": "mentions", "grec": "boxes"}
"""The list in the answer to a post of each task."""


def _steps(_: Any, step: float, value: Any, __: Any) -> Iterator[ValidationError]:
    """`multipleOf` up to rounding: 0.938 is 938 steps of 0.001, although the quotient is not exact."""
    if abs(value / step - round(value / step)) > 1e-6:
        yield ValidationError(f"{value!r} is not a multiple of {step}")


_VALIDATOR = validators.extend(Draft202012Validator, {"multipleOf": _steps})


@dataclass(frozen=True, slots=True)
class GoldFault:
    """A reason why the gold answer of a post cannot be learned.

    Attributes:
        post_id: Id of the post.
        kind: Kind of the fault in snake case, such as `span_too_long`.
        message: What is wrong.
        place: Index of the post among those that were checked, from 0.
    """

    post_id: str
    kind: str
    message: str
    place: int

    def __str__(self) -> str:
        return f"{self.post_id!r}: {self.message}"


@dataclass(frozen=True, slots=True)
class GoldReport:
    """The result of `check_posts`.

    Attributes:
        posts: Number of posts that were checked.
        faults: The faults, in the order of the posts; empty if every gold answer can be learned.
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
        """The checked posts without a fault."""
        refused = {fault.place for fault in self.faults}
        return [post for place, post in enumerate(posts) if place not in refused]

    def only(self, kinds: Iterable[str]) -> GoldReport:
        """A report with only the faults of these kinds."""
        kept = set(kinds)
        return GoldReport(self.posts, tuple(fault for fault in self.faults if fault.kind in kept))

    def moved(self, places: Sequence[int], posts: int) -> GoldReport:
        """The report for a longer list that contains the checked posts.

        Args:
            places: Index in that list of each checked post.
            posts: Length of that list.
        """
        return GoldReport(posts, tuple(replace(fault, place=places[fault.place]) for fault in self.faults))

    def summary(self, each: int = 5) -> str:
        """A line with the counts, followed by a line for each of the first faults.

        Args:
            each: Number of faults to list; the number of further ones follows.
        """
        if not self.faults:
            return f"{counted(self.posts, 'post', 'posts')}, every gold answer can be learned"
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(Counter(f.kind for f in self.faults).items()))
        lines = [f"{self.refused} of {counted(self.posts, 'post', 'posts')} cannot be learned: {kinds}"]
        lines += [str(fault) for fault in self.faults[:each]]
        if len(self.faults) > each:
            lines.append(f"... and {counted(len(self.faults) - each, 'more fault', 'more faults')}")
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
    tasks: Collection[Task] = MAIN_TASK,
) -> GoldReport:
    """Check whether a model can generate the gold answer of every post; every image is opened once.

    The answer is that of the post's task, see `gmner.Post.task`.

    Args:
        posts: Annotated posts.
        labels: The entity types of the program to train.
        limits: The limits of its answers.
        profile: Coordinate convention and resize rule of its model.
        tasks: The tasks that are learned; a post of another one is a fault. `gmner.MCR` learns all three with a
            `GMNER`, and then none of them is.

    Returns:
        The faults: `duplicate_id`, `not_annotated`, `no_regions`, `expression`, `empty_text`, `not_unicode`,
        `offsets`, `same_place`, `unknown_type`, `blank_at_edge`, `span_too_long`, `cuts_a_word`, `cuts_a_character` (a
        combining mark or a part of an emoji is left out), `too_many_entities`, `too_many_boxes`, `too_many_pictures`,
        `no_picture`, `no_such_picture`, `bad_picture`, `box_outside`, `box_without_area`, `box_too_small`, and `schema`
        for anything else that the schema does not allow.

    Raises:
        InputError: An item is not a post, or the labels are invalid.
    """
    adapter = PromptAdapter(as_labels(labels), profile, limits)
    ids: set[str] = set()
    faults: list[GoldFault] = []
    count = 0
    for place, post in enumerate(posts):
        if not isinstance(post, Post):
            raise InputError("Every item must be a post", received=post, accepted="gmner.Post")
        post_faults = list(_post_faults(post, adapter, tasks))
        if post.id in ids:
            post_faults.insert(0, ("duplicate_id", "an earlier post has the same id"))
        ids.add(post.id)
        faults += [GoldFault(post.id, kind, message, place) for kind, message in post_faults]
        count += 1
    return GoldReport(count, tuple(faults))


def refusal(name: str, report: GoldReport, remedy: str) -> InputError:
    """The error that refuses a set of posts with faults.

    Args:
        name: Name of the set, such as `trainset`.
        report: A report with faults.
        remedy: What the user can do.
    """
    further = len(report.faults) - _NAMED
    return InputError(
        f"The gold annotations of {report.refused} of {counted(report.posts, 'post', 'posts')} of the {name} "
        + "cannot be used: "
        + "; ".join(map(str, report.faults[:_NAMED]))
        + (f"; and {counted(further, 'more fault', 'more faults')}" if further > 0 else ""),
        accepted="gold annotations that the program can generate with its labels, limits and images",
        remedy=remedy,
    )


FaultTexts = Iterator[tuple[str, str]]
"""Kind and message of faults."""


def _post_faults(post: Post, adapter: PromptAdapter, tasks: Collection[Task]) -> FaultTexts:
    if post.entities is None:
        yield "not_annotated", "it is not annotated"
    elif post.task not in tasks and post.task == "grec":
        yield "expression", "it is a referring expression, which has no named entities"
    elif post.task == "grec" and EXPRESSION in adapter.labels:
        yield "expression", f"it looks like a referring expression, but {EXPRESSION} is an entity type: rename the type"
    elif not post.grounded and (post.task not in tasks or post.task == "grec"):
        yield "no_regions", "its regions are not annotated: training on it would teach that nothing is shown"
    if not post.text.strip():
        yield "empty_text", "its text is empty"
    if not _is_unicode(post.text):
        yield "not_unicode", "its text contains a lone surrogate (half of a character), which no model accepts"
    most = adapter.profile.max_pictures
    if most is not None and len(post.images) > most:
        yield "too_many_pictures", f"it has {len(post.images)} images, but the model takes at most {most}"
        yield from _text_faults(post, adapter.labels, adapter.limits)
        return
    try:
        request = adapter.request({"text": post.text, **picture_inputs(post.images)})
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


def _text_faults(post: Post, labels: LabelSet, limits: Limits) -> FaultTexts:
    """Faults of the mentions and of their number; of an expression, of the number of its boxes."""
    if post.task == "grec":
        if post.gold[0].key != (0, len(post.text)):
            yield "offsets", f"{post.text!r} is not at {post.gold[0].start}:{post.gold[0].end} of the text"
        if (boxes := len(post.gold[0].boxes)) > limits.entities:
            yield "too_many_boxes", f"{boxes} boxes, but an answer has at most {limits.entities}"
        return
    if len(post.gold) > limits.entities:
        yield "too_many_entities", f"{len(post.gold)} entities, but an answer has at most {limits.entities}"
    for key, times in Counter(entity.key for entity in post.gold).items():
        if times > 1:
            yield "same_place", f"{times} entities have the offsets {key[0]}:{key[1]}"
    for entity in post.gold:
        yield from _mention_faults(entity, post.text, labels)


def _mention_faults(entity: GoldEntity, text: str, labels: LabelSet) -> FaultTexts:
    span = entity.span
    if entity.type not in labels:
        yield "unknown_type", f"{span!r} has the unknown type {entity.type!r} (known: {', '.join(labels)})"
    if not span or not 0 <= entity.start < entity.end or text[entity.start : entity.end] != span:
        yield "offsets", f"{span!r} is not at {entity.start}:{entity.end} of the text"
    elif is_space(span[0]) or is_space(span[-1]):
        yield "blank_at_edge", f"{span!r} begins or ends with a blank"
    elif is_cut_in_cluster(text, entity.start) or is_cut_in_cluster(text, entity.end):
        place = f"{span!r} at {entity.start}:{entity.end}"
        yield "cuts_a_character", f"{place} begins or ends between a character and its combining marks, or in an emoji"
    elif (entity.start, entity.end) not in occurrences(span, text):
        yield "cuts_a_word", f"{span!r} at {entity.start}:{entity.end} begins or ends inside a word"
    elif (length := length_in_words(span)) > MAX_SPAN_WORDS:
        size = f"{length:g} words and symbols" if length < float("inf") else "too many parts"
        yield "span_too_long", f"{span!r} has {size}, but a span has at most {MAX_SPAN_WORDS} words"


def _box_faults(post: Post, request: Request) -> FaultTexts:
    """Faults of boxes in the image.

    The box that is used for training, the first one of an entity or any of an expression, also as the model writes it.
    """
    sizes = [size for size, _ in request.frame.pictures]
    for entity in post.gold:
        if not sizes:
            if entity.boxes:
                yield "no_picture", f"{entity.span!r} has a box, but the post has no image"
            continue
        for number, box in enumerate(entity.boxes):
            name = f"the box ({', '.join(f'{value:g}' for value in box.as_tuple())}) of {entity.span!r}"
            if box.picture > len(sizes):
                yield "no_such_picture", f"{name} is in image {box.picture}, but the post has {len(sizes)}"
                continue
            size = sizes[box.picture - 1]
            if not box.inside(size):
                yield "box_outside", f"{name} extends beyond the image of {size[0]} x {size[1]} pixels"
                continue
            if not box.area:
                yield "box_without_area", f"{name} has no area"
            elif (number == 0 or post.task == "grec") and request.frame.decode(
                request.frame.encode(box), box.picture
            ).iou(box) <= _LEAST_IOU:
                coordinates = list(request.frame.encode(box))
                yield "box_too_small", f"{name} is too small for the model's coordinates {coordinates}"


def _schema_faults(post: Post, request: Request) -> FaultTexts:
    """Violations of the decoding schema by the gold answer."""
    items = post.gold[0].boxes if post.task == "grec" else [as_entity(entity) for entity in post.gold]
    name = _LISTS[post.task]
    form = form_of(["reasoning", name])
    answer = form.render({"reasoning": "", name: items}, request)
    for error in _VALIDATOR(form.schema(request)).iter_errors(json.loads(answer)):
        where = "/".join(map(str, error.absolute_path))
        yield "schema", f"the schema of the answer does not allow {where or 'it'}: {str(error.instance)[:120]}"
