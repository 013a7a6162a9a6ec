"""`training_sets`: the posts that a compile trains on, and those that it is validated on."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any

from gmner.data.pictures import first_pictures
from gmner.data.post import Post
from gmner.optimizers.chains.reasoning_set import ReasoningSet
from gmner.optimizers.chains.split import split_posts
from gmner.optimizers.checks import checked_sets
from gmner.optimizers.compile_settings import CompileSettings
from gmner.optimizers.mixture import main_task
from gmner.optimizers.training.trainable import trainable_engine
from gmner.programs.related_tasks import learned_tasks
from gmner.programs.trainable import Trainable
from gmner.signatures.errors import InputError

LOG = logging.getLogger(__name__)

_LEAST_HELD_OUT, _MOST_HELD_OUT = 16, 200


def training_sets(
    settings: CompileSettings, trainset: Sequence[Any], valset: Sequence[Any] | None, student: Trainable
) -> tuple[list[Post], list[Post] | None]:
    """The posts that a compile trains on, and those that it is validated on.

    Args:
        settings: The settings of the compile.
        trainset: Annotated posts, or examples that carry them.
        valset: The same for validation. None or empty: posts of the training set are held out, see `held_out`.
        student: The program that learns.

    Returns:
        The training posts, and the validation posts, which are given, held out or None.

    Raises:
        InputError: The student cannot learn from a post, no post is left, or `validate_every` without validation posts.
        ImageError: An image of the training set cannot be read.
    """
    limit = student.limit_pictures
    train = first_pictures(_as_posts(trainset), limit)
    # BetterTogether passes [] for no validation set.
    val = first_pictures(_as_posts(valset), limit) if valset else None
    tasks, leave_out = learned_tasks(student), settings.leave_out_invalid
    train, val = checked_sets(train, val, student.adapter(), tasks=tasks, leave_out_invalid=leave_out)
    trained = trainable_engine(student.model) is not None
    if val is None and settings.holdout and trained and not _all_have_chains(settings, train):
        train, val = held_out(train, settings.holdout, settings.seed)
    stages = settings.mrsi, settings.cvo
    if val is None and any(stage and stage.validate_every not in (None, "auto") for stage in stages):
        raise InputError("validate_every requires a validation set", remedy="Pass compile(valset=...)")
    return _used(settings, train, student), val


def _all_have_chains(settings: CompileSettings, train: Sequence[Post]) -> bool:
    """Whether the set of `chains_from` was written for all of these posts; none can be held out then."""
    if settings.mrsi is None or settings.mrsi.chains_from is None:
        return False
    given = ReasoningSet.load(settings.mrsi.chains_from)
    return {post.id for post in train} == {*given.d1, *given.d2}


def _used(settings: CompileSettings, train: list[Post], student: Trainable) -> list[Post]:
    """The posts that something is learned from, so that no chains are written about others.

    Without posts of tasks whose weight is 0, and if no weights are trained, without posts of related tasks.
    """
    trains = _trains(settings, student)
    _check_demonstrable(settings, train, student, trains=trains)
    if trains:
        used = [post for post in train if settings.task_weights.get(post.task, 1)]
    else:
        used = [post for post in train if post.task == "gmner"]
        if left := len(train) - len(used):
            LOG.warning("%d posts of related tasks are not used: demonstrations need names and regions", left)
    if not used:
        fact, accepted = "task_weights leaves no post of the training set", "a weight above 0 for one of its tasks"
        raise InputError(fact, received=dict(settings.task_weights), accepted=accepted)
    # A given set has the chains of all posts that it was written for.
    return train if settings.mrsi is not None and settings.mrsi.chains_from is not None else used


def _check_demonstrable(settings: CompileSettings, train: Sequence[Post], student: Trainable, *, trains: bool) -> None:
    """Refuse a training set without a post that can become a demonstration if demonstrations are wanted."""
    mrsi = settings.mrsi
    count = None if mrsi is None else mrsi.demonstrations.wanted(trained=trains and mrsi.trains)
    if not any(post.task == "gmner" for post in train) and (not trains or (count and student.whole_answers)):
        raise InputError(
            "No post can become a demonstration", received=train[0].id, accepted="posts with names and regions",
            remedy="Add such posts, or train weights without demonstrations",
        )  # fmt: skip


def _trains(settings: CompileSettings, student: Trainable) -> bool:
    """Whether a stage trains the weights of the student."""
    stages = settings.cvo is not None or (settings.mrsi is not None and settings.mrsi.trains)
    return stages and trainable_engine(student.model) is not None


def held_out(train: Sequence[Post], share: float, seed: int) -> tuple[list[Post], list[Post] | None]:
    """Split off a part of the training set for validation, stratified like D1 and D2.

    Args:
        train: Annotated posts.
        share: Share of them that is held out, but at least 16 and at most 200 posts.
        seed: Seed of the choice.

    Returns:
        The other posts, and the held-out ones, which are of one task (GMNER if there are enough such posts); None for
        these if there are fewer than 48 posts of it.
    """
    task = main_task(train, 3 * _LEAST_HELD_OUT)
    candidates = [post for post in train if post.task == task]
    wanted = min(_MOST_HELD_OUT, max(_LEAST_HELD_OUT, round(share * len(candidates))))
    if len(candidates) < 3 * _LEAST_HELD_OUT:
        LOG.warning(
            "No validation set is given, and the training set is too small to hold one out: stages are not scored, and "
            "the program of the last stage is returned"
        )
        return list(train), None
    out, _ = split_posts(candidates, wanted / len(candidates), random.Random(f"holdout-{seed}"))
    ids = {post.id for post in out}
    return [post for post in train if post.id not in ids], out


def _as_posts(posts: Sequence[Any]) -> list[Post]:
    """Posts from posts, or from `dspy.Example`s that carry their post.

    Raises:
        InputError: Anything else.
    """
    converted = []
    for given in posts:
        post = given if isinstance(given, Post) else getattr(given, "post", None)
        if not isinstance(post, Post):
            raise InputError("Not an annotated post", received=given, accepted="Post, or an example of to_example")
        converted.append(post)
    return converted
