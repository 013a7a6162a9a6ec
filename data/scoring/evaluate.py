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
    """A program that answers many posts in one call, and records errors instead of raising them."""

    def batch_posts(self, posts: Sequence[Post], *, progress: bool = True) -> list[Prediction]:
        """Return one prediction per post, in order; `progress` shows a progress bar."""
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
        program_or_predictions: A program with `batch_posts(posts, progress=)`; a program that is called as
            `program(text=, image=)`, or with `images=` for a post with several, and returns an object with `.entities`
            and `.reasoning`; predictions; or a mapping from post id to prediction. A post without a prediction is
            scored as an empty answer and listed in `Evaluation.missing`. A `GmnerError` of a program is recorded, and
            the evaluation continues.
        posts: Annotated posts with unique ids. If their regions are not annotated (`grounded` is False), only MNER is
            scored, and the other scores are NaN.
        protocol: The scoring protocol, see `gmner.data.scoring.protocols`.
        progress: Show a progress bar while a program runs.
        seed: Seed of the bootstrap.

    Raises:
        InputError: There are no posts, a post is not annotated, an id occurs twice, a prediction has another text than
            its post, the protocol is unknown, only some of the posts have annotated regions, or some are referring
            expressions, which `gmner.evaluate_expressions` scores.
    """
    rule = find_protocol(protocol)
    posts = list(posts)
    check_gold(posts)
    predictions = answers_by_id(program_or_predictions, posts, progress=progress)
    post_ids = {post.id for post in posts}
    answers = [answer_of(post, predictions) for post in posts]
    types, grounded = types_of(posts), posts[0].grounded
    counts = [count_post(post, answer, rule, types) for post, answer in zip(posts, answers, strict=True)]
    totals = figures(counts, grounded=grounded)
    task_counts = tuple(post_counts.tasks for post_counts in counts)
    return Evaluation(
        **{name: getattr(totals, name) for name in totals.__dataclass_fields__},
        protocol=rule.name,
        grounded=grounded,
        intervals=f1_intervals(task_counts, TASKS if grounded else ("mner",), seed),
        by_slice=by_slice(posts, counts, grounded=grounded),
        by_type=by_type(posts, answers, counts, rule, grounded=grounded),
        by_region=by_region(posts, answers, counts, rule) if grounded else {},
        missing=tuple(post.id for post in posts if post.id not in predictions),
        unknown=tuple(id_ for id_ in predictions if id_ not in post_ids),
        failed=Counter(answer.error["kind"] for answer in answers if answer.error),
        predictions=tuple(answers),
        counts=task_counts,
    )


def check_gold(posts: Sequence[Post], name: str = "") -> None:
    """Check that posts can be scored.

    Args:
        posts: The posts.
        name: Name of the posts in error messages, such as `the valset`; may be empty.

    Raises:
        InputError: See `evaluate`.
    """
    check_annotated(posts, name)
    of = f" of {name}" if name else ""
    mixed = next((post.id for post in posts if post.grounded != posts[0].grounded), None)
    if mixed is not None:
        raise InputError(
            f"Only some of the posts{of} have annotated regions",
            received=mixed,
            remedy="Evaluate posts with and without regions separately; only MNER can be scored without regions",
        )
    expression = next((post for post in posts if post.task == "grec"), None)
    if expression is not None:
        fact = f"The posts{of} contain referring expressions, of which all targets must be found"
        remedy = "Score expressions on their own, with gmner.evaluate_expressions"
        raise InputError(fact, received=expression.text, accepted="posts with names", remedy=remedy)


def check_annotated(posts: Sequence[Post], name: str = "") -> None:
    """Check that there are posts, with unique ids, and that all are annotated.

    Args:
        posts: The posts.
        name: See `check_gold`.

    Raises:
        InputError: There are no posts, an id occurs twice, or a post is not annotated.
    """
    of = f" of {name}" if name else ""
    if not posts:
        raise InputError("posts must not be empty")
    repeated = [id_ for id_, count in Counter(post.id for post in posts).items() if count > 1]
    if repeated:
        raise InputError(f"A post id{of} occurs twice", received=repeated[0], remedy="Give every post a unique id")
    unannotated = [post.id for post in posts if post.entities is None]
    if unannotated:
        fact = f"{len(unannotated):,} of {len(posts):,} posts{of} are not annotated"
        raise InputError(fact, received=unannotated[0], accepted="posts with `entities`")


def answers_by_id(source: Answers, posts: Sequence[Post], *, progress: bool) -> dict[str, Prediction]:
    """The predictions of a program, or those given, by the id of their post; see `evaluate`.

    Raises:
        InputError: `source` is neither, or two predictions have the same id.
    """
    if isinstance(source, BatchProgram):
        predictions: Iterable[Prediction] = source.batch_posts(posts, progress=progress)
    elif isinstance(source, Mapping):
        return {id_: replace(_checked(prediction), id=id_) for id_, prediction in source.items()}
    elif isinstance(source, Iterable):
        predictions = source
    elif callable(source):
        predictions = [_call(source, post) for post in tqdm(posts, desc="evaluate", unit="post", disable=not progress)]
    else:
        raise InputError("Not a program or predictions", received=source)
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
        images: dict[str, typing.Any] = {"images": post.images} if len(post.images) > 1 else {"image": post.image}
        answer = program(text=post.text, **images)
    except GmnerError as error:
        return Prediction.failed(post.id, post.text, error)
    thinking = str(getattr(answer, "thinking", None) or "")
    return Prediction(post.id, post.text, answer.reasoning or "", tuple(answer.entities), thinking=thinking)


def answer_of(post: Post, predictions: Mapping[str, Prediction]) -> Prediction:
    """The prediction for a post; an empty one if there is none.

    Raises:
        InputError: It has another text than the post.
    """
    prediction = predictions.get(post.id, Prediction(post.id, post.text))
    if prediction.text != post.text:
        raise InputError(
            f"The prediction for post {post.id!r} has another text than the post",
            received=prediction.text,
            accepted=post.text[:160],
        )
    return prediction
