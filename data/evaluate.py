"""`evaluate`: run a program on annotated posts, or take its predictions, and score them."""

from __future__ import annotations

import typing
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from tqdm import tqdm

from gmner.data.bias import Bias, BiasCounts, count_bias
from gmner.data.evaluation import Evaluation, Figures
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring import TASKS, Protocol, Scores, TaskCounts, find_protocol, pair_mentions
from gmner.data.verdicts import Fault, judge
from gmner.signatures.errors import GmnerError, InputError

RESAMPLES = 1000


@typing.runtime_checkable
class BatchProgram(typing.Protocol):
    """A program that answers many posts in one run and records an error instead of raising it."""

    def batch_posts(self, posts: Sequence[Post]) -> list[Prediction]:
        """One prediction a post, in order."""
        ...


Answers = BatchProgram | Callable[..., typing.Any] | Mapping[str, Prediction] | Iterable[Prediction]


def evaluate(
    program_or_predictions: Answers,
    posts: Sequence[Post],
    protocol: str | Protocol = "paper",
    *,
    progress: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Score a program's answers to annotated posts.

    Args:
        program_or_predictions: A program with `batch_posts(posts)`; a program called as `program(text=, image=)` whose
            answer has `.entities` and `.reasoning`; predictions; or a mapping from post id to prediction. A post
            without a prediction counts as answered with nothing and is reported in `Evaluation.missing`; a
            `GmnerError` of a program is recorded and the run goes on.
        posts: Posts with gold entities and ids of their own.
        protocol: The way of counting, see `gmner.data.scoring`.
        progress: Whether to show a bar while a program runs.
        seed: Seed of the bootstrap.

    Raises:
        InputError: No posts, a post without annotation, an id that occurs twice, a prediction for another text, or an
            unknown protocol.
    """
    rule = find_protocol(protocol)
    posts = list(posts)
    _check_posts(posts)
    given = _predictions(program_or_predictions, posts, progress=progress)
    known = {post.id for post in posts}
    missing = tuple(post.id for post in posts if post.id not in given)
    answers = [_answer(post, given) for post in posts]
    tallies = [_tally(post, answer, rule) for post, answer in zip(posts, answers, strict=True)]
    whole = _figures(tallies)
    return Evaluation(
        **{name: getattr(whole, name) for name in whole.__dataclass_fields__},
        protocol=rule.name,
        intervals=_intervals(tallies, seed),
        by_slice=_by_slice(posts, tallies),
        by_type=_by_type(posts, answers, rule),
        missing=missing,
        unknown=tuple(id_ for id_ in given if id_ not in known),
        failed=Counter(answer.error["kind"] for answer in answers if answer.error),
        predictions=tuple(answers),
    )


@dataclass(frozen=True)
class _Tally:
    """Everything counted about one post, or about several."""

    posts: int = 0
    tasks: Mapping[str, TaskCounts] = field(default_factory=lambda: dict.fromkeys(TASKS, TaskCounts()))
    bias: BiasCounts = field(default_factory=BiasCounts)
    shown: int = 0
    shown_right: int = 0
    absent: int = 0
    absent_boxed: int = 0
    errors: Counter[Fault] = field(default_factory=Counter)

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(
            self.posts + other.posts,
            {task: self.tasks[task] + other.tasks[task] for task in TASKS},
            self.bias + other.bias,
            self.shown + other.shown,
            self.shown_right + other.shown_right,
            self.absent + other.absent,
            self.absent_boxed + other.absent_boxed,
            self.errors + other.errors,
        )


def _check_posts(posts: Sequence[Post]) -> None:
    if not posts:
        raise InputError("There are no posts to evaluate on")
    twice = [id_ for id_, count in Counter(post.id for post in posts).items() if count > 1]
    if twice:
        raise InputError("A post id occurs twice", received=twice[0], remedy="Ids tell the posts of a split apart")
    bare = [post.id for post in posts if post.entities is None]
    if bare:
        raise InputError(f"{len(bare)} posts are not annotated", received=bare[0], accepted="posts with `entities`")


def _predictions(source: Answers, posts: Sequence[Post], *, progress: bool) -> dict[str, Prediction]:
    if isinstance(source, BatchProgram):
        found: Iterable[Prediction] = source.batch_posts(posts)
    elif isinstance(source, Mapping):
        return {id_: replace(_checked(prediction), id=id_) for id_, prediction in source.items()}
    elif isinstance(source, Iterable):
        found = source
    elif callable(source):
        found = [_ask(source, post) for post in tqdm(posts, desc="evaluate", unit="post", disable=not progress)]
    else:
        raise InputError("This is neither a program nor predictions", received=source)
    by_id: dict[str, Prediction] = {}
    for prediction in map(_checked, found):
        if prediction.id in by_id:
            raise InputError("Two predictions have the same id", received=prediction.id)
        by_id[prediction.id] = prediction
    return by_id


def _checked(value: object) -> Prediction:
    if not isinstance(value, Prediction):
        raise InputError("This is not a prediction", received=value, accepted="gmner.Prediction")
    return value


def _ask(program: Callable[..., typing.Any], post: Post) -> Prediction:
    try:
        answer = program(text=post.text, image=post.image)
    except GmnerError as error:
        return Prediction.failed(post.id, post.text, error)
    return Prediction(post.id, post.text, answer.reasoning or "", tuple(answer.entities))


def _answer(post: Post, given: Mapping[str, Prediction]) -> Prediction:
    prediction = given.get(post.id, Prediction(post.id, post.text))
    if prediction.text != post.text:
        raise InputError(
            f"The prediction of post {post.id!r} is for another text",
            received=prediction.text,
            accepted=post.text[:160],
        )
    return prediction


def _tally(post: Post, answer: Prediction, rule: Protocol) -> _Tally:
    found = [(post.gold[g], answer.entities[p]) for g, p in pair_mentions(post.gold, answer.entities)]
    shown = sum(entity.visible for entity in post.gold)
    return _Tally(
        posts=1,
        tasks=rule(post.gold, answer.entities),
        bias=count_bias(post, answer.entities),
        shown=shown,
        shown_right=sum(g.visible and rule.region.right(p.box, g.boxes) for g, p in found),
        absent=len(post.gold) - shown,
        absent_boxed=sum(not g.visible and p.box is not None for g, p in found),
        errors=Counter(f for verdict in judge(post.gold, answer.entities, rule.region) for f in verdict.faults),
    )


def _figures(tallies: Sequence[_Tally]) -> Figures:
    total = sum(tallies, _Tally())
    return Figures(
        posts=total.posts,
        **{task: Scores.of(total.tasks[task]) for task in TASKS},
        bias=Bias.of(total.bias),
        found_of_shown=100 * total.shown_right / total.shown if total.shown else None,
        boxed_of_absent=100 * total.absent_boxed / total.absent if total.absent else None,
        errors={fault: total.errors[fault] for fault in Fault},
    )


def _by_slice(posts: Sequence[Post], tallies: Sequence[_Tally]) -> dict[str, Figures]:
    groups: dict[str, list[_Tally]] = defaultdict(list)
    for post, tally in zip(posts, tallies, strict=True):
        if post.slice is not None:
            groups[post.slice].append(tally)
    return {name: _figures(groups[name]) for name in sorted(groups)}


def _by_type(posts: Sequence[Post], answers: Sequence[Prediction], rule: Protocol) -> dict[str, dict[str, Scores]]:
    totals: dict[str, dict[str, TaskCounts]] = defaultdict(lambda: dict.fromkeys(("gmner", "mner"), TaskCounts()))
    for post, answer in zip(posts, answers, strict=True):
        for kind in {entity.type for entity in (*post.gold, *answer.entities)}:
            gold = [entity for entity in post.gold if entity.type == kind]
            counts = rule(gold, [entity for entity in answer.entities if entity.type == kind])
            for task, total in totals[kind].items():
                totals[kind][task] = total + counts[task]
    return {kind: {task: Scores.of(n) for task, n in totals[kind].items()} for kind in sorted(totals)}


def _intervals(tallies: Sequence[_Tally], seed: int) -> dict[str, tuple[float, float]]:
    """Percentile intervals (2.5 to 97.5 %) of each F1, posts drawn with replacement."""
    # How often each post is drawn, (resamples, posts): the same as drawing indices, at one product a task.
    size = len(tallies)
    draws = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
    intervals = {}
    for task in TASKS:
        counts = [tally.tasks[task] for tally in tallies]
        correct = draws @ np.array([count.correct for count in counts])
        rows = draws @ np.array([count.predicted + count.gold for count in counts])
        f1 = np.where(rows == 0, 100.0, 200.0 * correct / np.maximum(rows, 1))
        low, high = np.percentile(f1, [2.5, 97.5])
        intervals[task] = (float(low), float(high))
    return intervals
