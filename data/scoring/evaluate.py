"""`evaluate`: scores a program, or its predictions, on annotated posts."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from tqdm import tqdm

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.counts import by_region, by_slice, by_type, count_post, figures, types_of
from gmner.data.scoring.evaluation import Evaluation
from gmner.data.scoring.pairing import TASKS
from gmner.data.scoring.protocols import Protocol, find_protocol
from gmner.data.scoring.resampling import f1_intervals
from gmner.signatures.errors import GmnerError, InputError


@typing.runtime_checkable
class BatchProgram(typing.Protocol):
    """A program that answers many posts in one run and records an error instead of raising it."""

    def batch_posts(self, posts: Sequence[Post], *, progress: bool = True) -> list[Prediction]:
        """One prediction a post, in order; `progress`: whether a bar is shown."""
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
        program_or_predictions: A program with `batch_posts(posts, progress=)`; a program called as
            `program(text=, image=)` whose answer has `.entities` and `.reasoning`; predictions; or a mapping from post
            id to prediction. A post without a prediction counts as answered with nothing and is reported in
            `Evaluation.missing`; a `GmnerError` of a program is recorded and the run goes on.
        posts: Posts with gold entities and ids of their own. Of posts whose regions are not annotated (`grounded` is
            False) only MNER is scored; the other scores are NaN.
        protocol: The way of counting, see `gmner.data.scoring.protocols`.
        progress: Whether to show a bar while a program runs.
        seed: Seed of the bootstrap.

    Raises:
        InputError: No posts, a post without annotation, an id that occurs twice, a prediction for another text, or an
            unknown protocol, or posts with and without annotated regions in one set.
    """
    rule = find_protocol(protocol)
    posts = list(posts)
    check_gold(posts)
    given = _predictions(program_or_predictions, posts, progress=progress)
    known = {post.id for post in posts}
    answers = [_answer(post, given) for post in posts]
    types, grounded = types_of(posts), posts[0].grounded
    tallies = [count_post(post, answer, rule, types) for post, answer in zip(posts, answers, strict=True)]
    whole = figures(tallies, grounded=grounded)
    counts = tuple(counted.tasks for counted in tallies)
    return Evaluation(
        **{name: getattr(whole, name) for name in whole.__dataclass_fields__},
        protocol=rule.name,
        grounded=grounded,
        intervals=f1_intervals(counts, TASKS if grounded else ("mner",), seed),
        by_slice=by_slice(posts, tallies, grounded=grounded),
        by_type=by_type(posts, answers, tallies, rule, grounded=grounded),
        by_region=by_region(posts, answers, tallies, rule) if grounded else {},
        missing=tuple(post.id for post in posts if post.id not in given),
        unknown=tuple(id_ for id_ in given if id_ not in known),
        failed=Counter(answer.error["kind"] for answer in answers if answer.error),
        predictions=tuple(answers),
        counts=counts,
    )


def check_gold(posts: Sequence[Post], name: str = "") -> None:
    """Refuse posts that cannot be scored.

    Args:
        posts: The posts.
        name: What they are called in an error, such as `the valset`; empty: nothing.

    Raises:
        InputError: See `evaluate`.
    """
    of = f" of {name}" if name else ""
    if not posts:
        raise InputError("posts must not be empty")
    twice = [id_ for id_, count in Counter(post.id for post in posts).items() if count > 1]
    if twice:
        raise InputError(f"A post id{of} occurs twice", received=twice[0], remedy="Give every post a unique id")
    bare = [post.id for post in posts if post.entities is None]
    if bare:
        raise InputError(f"{len(bare)} posts{of} are not annotated", received=bare[0], accepted="posts with `entities`")
    other = next((post.id for post in posts if post.grounded != posts[0].grounded), None)
    if other is not None:
        raise InputError(
            f"Posts{of} with and without annotated regions are mixed",
            received=other,
            remedy="Evaluate them apart: without regions only MNER can be scored",
        )


def _predictions(source: Answers, posts: Sequence[Post], *, progress: bool) -> dict[str, Prediction]:
    if isinstance(source, BatchProgram):
        predictions: Iterable[Prediction] = source.batch_posts(posts, progress=progress)
    elif isinstance(source, Mapping):
        return {id_: replace(_checked(prediction), id=id_) for id_, prediction in source.items()}
    elif isinstance(source, Iterable):
        predictions = source
    elif callable(source):
        predictions = [_call(source, post) for post in tqdm(posts, desc="evaluate", unit="post", disable=not progress)]
    else:
        raise InputError("Neither a program nor predictions", received=source)
    by_id: dict[str, Prediction] = {}
    for prediction in map(_checked, predictions):
        if prediction.id in by_id:
            raise InputError("Two predictions have the same id", received=prediction.id)
        by_id[prediction.id] = prediction
    return by_id


def _checked(value: object) -> Prediction:
    if not isinstance(value, Prediction):
        raise InputError("Not a prediction", received=value, accepted="gmner.Prediction")
    return value


def _call(program: Callable[..., typing.Any], post: Post) -> Prediction:
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
