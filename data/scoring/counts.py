"""Counts per post, and the figures computed from their sums."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.bias import Bias, BiasCounts, count_bias
from gmner.data.scoring.counting import PostCounts
from gmner.data.scoring.entity_errors import Fault, find_errors
from gmner.data.scoring.evaluation import Figures
from gmner.data.scoring.pairing import TASKS, Scores, TaskCounts, pair_mentions
from gmner.data.scoring.protocols import Protocol
from gmner.signatures.mentions import GoldEntity, GroundedEntity

_NOTHING: Mapping[str, TaskCounts] = dict.fromkeys(TASKS, TaskCounts())


@dataclass(frozen=True)
class Counts:
    """All counts of one or more posts.

    Attributes:
        posts: Number of posts.
        tasks: Counts by task.
        bias: Counts for the bias figures.
        shown: Gold mentions that the image shows.
        shown_right: Shown mentions that were found and have a correct box.
        absent: Gold mentions that the image does not show.
        absent_boxed: Absent mentions that were found and have a box.
        errors: Number of errors by class.
    """

    posts: int = 0
    tasks: PostCounts = field(default_factory=lambda: _NOTHING)
    bias: BiasCounts = field(default_factory=BiasCounts)
    shown: int = 0
    shown_right: int = 0
    absent: int = 0
    absent_boxed: int = 0
    errors: Counter[Fault] = field(default_factory=Counter)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.posts + other.posts,
            {task: self.tasks[task] + other.tasks[task] for task in TASKS},
            self.bias + other.bias,
            self.shown + other.shown,
            self.shown_right + other.shown_right,
            self.absent + other.absent,
            self.absent_boxed + other.absent_boxed,
            self.errors + other.errors,
        )


def count_post(post: Post, answer: Prediction, rule: Protocol, types: frozenset[str]) -> Counts:
    """Count one post.

    Args:
        post: An annotated post.
        answer: Its prediction.
        rule: The protocol.
        types: The types of the data set.
    """
    gold, predicted = post.gold, answer.entities
    pairs = pair_mentions(gold, predicted)
    paired = [(gold[g], predicted[p]) for g, p in pairs]
    shown = sum(entity.visible for entity in gold)
    return Counts(
        posts=1,
        tasks=rule(gold, predicted, types),
        bias=count_bias(post, predicted, pairs),
        shown=shown,
        shown_right=sum(g.visible and rule.region.right(p.box, g.boxes) for g, p in paired),
        absent=len(gold) - shown,
        absent_boxed=sum(not g.visible and p.box is not None for g, p in paired),
        errors=Counter(f for error in find_errors(gold, predicted, rule.region, pairs) for f in error.faults),
    )


def figures(counts: Iterable[Counts], *, grounded: bool = True) -> Figures:
    """Compute the figures of a set of posts.

    Args:
        counts: The counts of each post.
        grounded: Whether the posts have annotated regions; if not, figures that depend on regions are NaN or None.
    """
    total = sum(counts, Counts())
    known_tasks = TASKS if grounded else ("mner",)
    return Figures(
        posts=total.posts,
        **{task: Scores.of(total.tasks[task]) if task in known_tasks else Scores.unknown() for task in TASKS},
        bias=Bias.of(total.bias, grounded=grounded),
        found_of_shown=_share(total.shown_right, total.shown) if grounded else None,
        boxed_of_absent=_share(total.absent_boxed, total.absent) if grounded else None,
        errors={fault: total.errors[fault] for fault in Fault if grounded or not fault.about_regions},
    )


def by_slice(posts: Sequence[Post], counts: Sequence[Counts], *, grounded: bool) -> dict[str, Figures]:
    """Compute the figures of each slice; posts without a slice are ignored."""
    groups: dict[str, list[Counts]] = defaultdict(list)
    for post, post_counts in zip(posts, counts, strict=True):
        if post.slice is not None:
            groups[post.slice].append(post_counts)
    return {name: figures(groups[name], grounded=grounded) for name in sorted(groups)}


Groups = dict[str, dict[str, Scores]]
Select = Callable[[GoldEntity | GroundedEntity], str]


def by_type(
    posts: Sequence[Post], answers: Sequence[Prediction], counts: Sequence[Counts], rule: Protocol, *, grounded: bool
) -> Groups:
    """Compute the scores of each entity type, among gold and predicted entities of that type."""
    tasks = ("gmner", "mner") if grounded else ("mner",)
    return _grouped(posts, answers, counts, rule, lambda entity: entity.type, tasks)


def by_region(posts: Sequence[Post], answers: Sequence[Prediction], counts: Sequence[Counts], rule: Protocol) -> Groups:
    """Compute the scores of `shown`, gold and predicted entities with a box, and `not shown`, those without."""
    return _grouped(
        posts, answers, counts, rule, lambda entity: "shown" if entity.visible else "not shown", ("gmner", "eeg")
    )


def _grouped(
    posts: Sequence[Post],
    answers: Sequence[Prediction],
    counts: Sequence[Counts],
    rule: Protocol,
    group: Select,
    tasks: Sequence[str],
) -> Groups:
    types = types_of(posts)
    totals: dict[str, dict[str, TaskCounts]] = defaultdict(lambda: dict.fromkeys(tasks, TaskCounts()))
    for post, answer, post_counts in zip(posts, answers, counts, strict=True):
        names = {group(entity) for entity in post.gold} | {group(entity) for entity in answer.entities}
        for name in names:
            # The counts of a post whose entities are all in one group are known already.
            selected = post_counts.tasks if len(names) == 1 else rule(*_only(post, answer, rule, group, name), types)
            for task in tasks:
                totals[name][task] += selected[task]
    return {name: {task: Scores.of(total) for task, total in totals[name].items()} for name in sorted(totals)}


def _only(
    post: Post, answer: Prediction, rule: Protocol, group: Select, name: str
) -> tuple[list[GoldEntity], list[GroundedEntity]]:
    """Gold and predicted entities of one group, without the gold mentions that the protocol ignores."""
    gold = rule.kept(post.gold)
    return [e for e in gold if group(e) == name], [e for e in answer.entities if group(e) == name]


def types_of(posts: Iterable[Post]) -> frozenset[str]:
    """The types of the gold mentions of a data set."""
    return frozenset(entity.type for post in posts for entity in post.gold)


def _share(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
