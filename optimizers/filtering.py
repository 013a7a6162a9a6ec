"""Selects posts for reinforcement learning: those that a program answers neither always right nor always wrong.

This follows DAPO's dynamic sampling (Yu et al., 2025, arXiv 2503.14476, section 3.2), which leaves out prompts whose
answers all earn the same. MCR does not say whether it filters; the filter and its score are our choice.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import dspy

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.metric import post_f1
from gmner.optimizers.chains.split import check_trainset
from gmner.programs.answering import AnsweringProgram
from gmner.programs.related_tasks import answer_by_task
from gmner.signatures.errors import InputError

LOG = logging.getLogger(__name__)
_NEAR = 1e-9
_MOST_REPEATS = 8
# Uses of a post above which a warning is logged: with 16 posts, 20 times each, answers lost names (docs/results.md).
_PER_CALL = ("temperature", "seed", "rollout_id", "n")

Metric = Callable[[Post, Prediction], float]
"""A score of one answer, 0..1; it is not called for an answer that failed."""


def f1_metric(post: Post, prediction: Prediction) -> float:
    """F1 of the post in its task, 0..1; see `gmner.data.scoring.metric.post_f1`."""
    return post_f1(post.gold, prediction.entities, task=post.task)


@dataclass(frozen=True, slots=True)
class FilteredPosts:
    """The result of `filter_by_outcome`.

    Attributes:
        posts: The posts to learn from, in their original order.
        right: Ids of the posts whose answers all scored 1, in order.
        wrong: Ids of the posts whose answers all scored 0, in order.
        scores: Post id -> the score of each answer, 0..1, for all posts.
        failed: Number of answers that failed; each of them scored 0.
    """

    posts: tuple[Post, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    scores: Mapping[str, tuple[float, ...]]
    failed: int = 0

    def warn_if_few(self, prompts: int) -> None:
        """Log a warning if the remaining posts are repeated so often that their answers would be memorized.

        Args:
            prompts: Number of prompts of the whole training.
        """
        repeats = prompts / len(self.posts)
        if repeats > _MOST_REPEATS and len(self.posts) < len(self.scores):
            LOG.warning(
                "Only %d of %d posts have mixed results over %d answers each, and CVO would use each of them %.0f "
                "times: it may memorize them. Increase learnable_answers to find more such posts, or set it to None to "
                "use all posts",
                len(self.posts), len(self.scores), len(next(iter(self.scores.values()))), repeats,
            )  # fmt: skip

    def to_record(self) -> dict[str, Any]:
        """The result as JSON data, with ids in place of posts."""
        return {
            "kept": [post.id for post in self.posts],
            "right": list(self.right),
            "wrong": list(self.wrong),
            "scores": {name: list(values) for name, values in self.scores.items()},
            "failed": self.failed,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], posts: Sequence[Post]) -> FilteredPosts:
        """Inverse of `to_record`.

        Args:
            record: Made by `to_record`.
            posts: The posts that were filtered, in any order.

        Raises:
            InputError: The record belongs to other posts.
        """
        known = {post.id: post for post in posts}
        other = sorted(known.keys() ^ record["scores"].keys())
        if other:
            raise InputError(
                "The saved filter result belongs to other posts",
                received=other[:5],
                accepted=f"the {len(record['scores'])} posts that were filtered",
                remedy="Filter these posts again",
            )
        scores = {name: tuple(values) for name, values in record["scores"].items()}
        kept = tuple(known[name] for name in record["kept"])
        return cls(kept, tuple(record["right"]), tuple(record["wrong"]), scores, record["failed"])


class RunningOptions(TypedDict, total=False):
    """Options of `answer_posts`."""

    threads: int | None
    progress: bool


def filter_by_outcome(
    program: AnsweringProgram,
    posts: Sequence[Post],
    *,
    answers: int = 4,
    temperature: float = 1.0,
    seed: int = 0,
    metric: Metric = f1_metric,
    **running: Unpack[RunningOptions],
) -> FilteredPosts:
    """Leave out the posts from which GRPO learns nothing.

    GRPO compares the answers to the same post. If all of them are right, or all wrong, there is nothing to compare.
    Copies of the program answer each post `answers` times, and the post is left out if every answer scores 1 or every
    answer scores 0. A post whose answers are all equally half right is kept, because the rewards are finer than this
    metric. If no post would be left, all are kept, with a warning.

    Args:
        program: The program. Neither the program nor its LM is changed, and DSPy's cache is neither read nor written.
        posts: Annotated posts, ids unique.
        answers: Answers per post. With few answers, a post that is mostly right can look always right.
        temperature: Sampling temperature of the answers; use that of the rollouts.
        seed: Makes the answers reproducible if the LM accepts a seed.
        metric: The score of an answer, 0..1. A failed answer scores 0 without a call of the metric.
        **running: `threads` and `progress`, which are passed to `answer_posts`; it shows a bar for each round.

    Returns:
        The remaining posts, and the scores of all posts.

    Raises:
        InputError: Posts that cannot be trained on, fewer than two answers, no positive temperature, or a score outside
            of 0..1.
        ModelError: The program has no LM.

    Source: dynamic sampling of DAPO. Applying it once, before training, is our choice.
    """
    _check(posts, answers, temperature)
    seeds = random.Random(seed).sample(range(2**31), answers)
    rounds = [answer_by_task(_sampling_copy(program, temperature, number), posts, **running) for number in seeds]
    groups = list(zip(*rounds, strict=True))
    scores = {
        post.id: tuple(_score(post, answer, metric) for answer in group)
        for post, group in zip(posts, groups, strict=True)
    }
    failed = sum(answer.error is not None for group in groups for answer in group)
    return _filtered(posts, scores, failed)


def _check(posts: Sequence[Post], answers: int, temperature: float) -> None:
    check_trainset(posts)
    if answers < 2:
        raise InputError("answers must be at least 2, because a single answer does not vary", received=answers)
    if not (math.isfinite(temperature) and temperature > 0):
        fact = "temperature must be positive, because all answers are the same otherwise"
        raise InputError(fact, received=temperature, accepted="a number above 0")


def _sampling_copy(program: AnsweringProgram, temperature: float, seed: int) -> AnsweringProgram:
    """A copy of a program that samples its answers. It shares the weights and never changes the program."""
    copied = program.deepcopy()
    default = program.model
    for new, old in zip(copied.predictors(), program.predictors(), strict=True):
        lm = old.lm or dspy.settings.lm or default
        number = {"seed": seed} if "seed" in lm.supported_params else {}
        # A cached answer would come from another sample, and these samples are never needed again.
        new.lm = lm.copy(temperature=temperature, cache=False, **number)
        # A predictor's own settings would take precedence over those of its LM.
        new.config = {key: value for key, value in old.config.items() if key not in _PER_CALL}
    return copied


def _score(post: Post, answer: Prediction, metric: Metric) -> float:
    """The score of one answer; 0 if it failed, because an empty answer would be right for a post without names."""
    if answer.error is not None:
        return 0.0
    score = float(metric(post, answer))
    if not -_NEAR <= score <= 1 + _NEAR:
        fact = f"The metric's score of post {post.id!r} is out of range"
        raise InputError(fact, received=score, accepted="a number between 0 and 1")
    return score


def _filtered(posts: Sequence[Post], scores: Mapping[str, tuple[float, ...]], failed: int) -> FilteredPosts:
    right = tuple(post.id for post in posts if min(scores[post.id]) >= 1 - _NEAR)
    wrong = tuple(post.id for post in posts if max(scores[post.id]) <= _NEAR)
    kept = tuple(post for post in posts if post.id not in {*right, *wrong})
    if not kept:
        LOG.warning(
            "All posts are kept, because none has mixed results: %d are always answered correctly and %d never "
            "(%d answers failed)",
            len(right),
            len(wrong),
            failed,
        )
        return FilteredPosts(tuple(posts), right, wrong, scores, failed)
    LOG.info(
        "%d of %d posts kept; %d are always answered correctly and %d never",
        len(kept),
        len(posts),
        len(right),
        len(wrong),
    )
    return FilteredPosts(kept, right, wrong, scores, failed)
