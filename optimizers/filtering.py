"""Which posts reinforcement can learn from: those that a program answers neither always right nor always wrong.

The idea is that of DAPO's dynamic sampling (Yu et al., 2025, arXiv 2503.14476, section 3.2), which leaves out prompts
whose answers all earn the same. MCR does not say whether it filters: that we do, and by which score, is our choice.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.metric import post_f1
from gmner.optimizers.chains.split import check_trainset
from gmner.programs.answering import AnsweringProgram
from gmner.programs.corpus import answer_posts
from gmner.signatures.errors import InputError

LOG = logging.getLogger(__name__)
_NEAR = 1e-9
_BY_HEART = 8
# Uses of a post above which a warning is logged: with 16 posts, 20 times each, answers lost names (docs/results.md).
_PER_CALL = ("temperature", "seed", "rollout_id", "n")

Metric = Callable[[Post, Prediction], float]
"""A score of one answer, 0..1; it is not asked about an answer that failed."""


def f1_metric(post: Post, prediction: Prediction) -> float:
    """GMNER F1 of the post, 0..1; see `gmner.data.scoring.metric.post_f1`."""
    return post_f1(post.gold, prediction.entities)


@dataclass(frozen=True, slots=True)
class FilteredPosts:
    """Posts that a program sometimes answers right and sometimes not, and the others.

    Attributes:
        posts: The posts to learn from, in the order in which they were given.
        right: Ids of the posts whose every answer scored 1, in order.
        wrong: Ids of the posts whose every answer scored 0, in order.
        scores: Post id -> the score of each answer, 0..1, of all posts that were given.
        failed: How many answers failed; each of them scored 0.
    """

    posts: tuple[Post, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    scores: Mapping[str, tuple[float, ...]]
    failed: int = 0

    @property
    def unfiltered(self) -> bool:
        """Whether no post was of use, so that all were kept."""
        return len(self.right) + len(self.wrong) == len(self.scores)

    def warn_if_few(self, prompts: int) -> None:
        """Say so when few posts are left for so many prompts: their answers would be learned by heart."""
        rounds = prompts / len(self.posts)
        if rounds > _BY_HEART and len(self.posts) < len(self.scores):
            LOG.warning(
                "CVO goes %.0f times over %d of %d posts, which %d answers each did not get always right or never: it "
                "may learn them by heart. More answers find more such posts (learnable_answers=); None takes all",
                rounds, len(self.posts), len(self.scores), len(next(iter(self.scores.values()))),
            )  # fmt: skip

    def to_record(self) -> dict[str, Any]:
        """The outcome as JSON data, posts by their ids."""
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
            posts: The posts that were given to `learnable`, in any order.

        Raises:
            InputError: The record is of other posts.
        """
        known = {post.id: post for post in posts}
        other = sorted(known.keys() ^ record["scores"].keys())
        if other:
            raise InputError(
                "This filter was made for other posts",
                received=other[:5],
                accepted=f"the {len(record['scores'])} posts it was made for",
                remedy="Filter these posts anew",
            )
        scores = {name: tuple(values) for name, values in record["scores"].items()}
        kept = tuple(known[name] for name in record["kept"])
        return cls(kept, tuple(record["right"]), tuple(record["wrong"]), scores, record["failed"])


def filter_by_outcome(
    program: AnsweringProgram,
    posts: Sequence[Post],
    *,
    answers: int = 4,
    temperature: float = 1.0,
    seed: int = 0,
    metric: Metric = f1_metric,
    threads: int | None = None,
    progress: bool = True,
) -> FilteredPosts:
    """Leave out the posts from which GRPO learns nothing.

    GRPO weighs an answer against the others to the same post; where all are right, or all wrong, there is nothing to
    weigh. Each post is answered `answers` times by copies of the program, and is left out when every answer scores 1,
    or every answer scores 0. Answers that are all equally half right stay: the rewards are finer than this metric.
    If no post were left, all are kept, with a warning.

    Args:
        program: The program; neither it nor its LM is changed, and DSPy's cache is neither read nor written.
        posts: Annotated posts, ids unique.
        answers: Answers a post; with few of them a post that is mostly right looks as if it always were.
        temperature: Temperature of the answers: that of the rollouts.
        seed: Makes the answers repeatable, where the LM takes a seed.
        metric: The score of an answer, 0..1. An answer that failed scores 0, whatever the metric says of it.
        threads: Posts under way at once; see `answer_posts`.
        progress: Show a progress bar for each round of answers.

    Returns:
        The posts kept and what each scored.

    Raises:
        InputError: Posts that cannot be trained on, fewer than two answers, no temperature, or a score outside of 0..1.
        ModelError: The program has no LM.

    Source: dynamic sampling of DAPO; applied once and ahead of training, which is our choice.
    """
    _check(posts, answers, temperature)
    seeds = random.Random(seed).sample(range(2**31), answers)
    rounds = [
        answer_posts(_sampling_copy(program, temperature, number), posts, threads=threads, progress=progress)
        for number in seeds
    ]
    groups = list(zip(*rounds, strict=True))
    scores = {
        post.id: tuple(_score(post, answer, metric) for answer in group)
        for post, group in zip(posts, groups, strict=True)
    }
    failed = sum(answer.error is not None for group in groups for answer in group)
    return _sorted_out(posts, scores, failed)


def _check(posts: Sequence[Post], answers: int, temperature: float) -> None:
    check_trainset(posts)
    if answers < 2:
        raise InputError("One answer has no spread", received=answers, accepted="2 or more answers")
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError("Without a temperature all answers are the same", received=temperature, accepted="above 0")


def _sampling_copy(program: AnsweringProgram, temperature: float, seed: int) -> AnsweringProgram:
    """A copy of a program that draws its answers; it shares the weights, and nothing of it reaches the program."""
    copied = program.deepcopy()
    default = program.model
    for new, old in zip(copied.predictors(), program.predictors(), strict=True):
        lm = old.lm or dspy.settings.lm or default
        number = {"seed": seed} if "seed" in lm.supported_params else {}
        # A cached answer would be one of another draw, and those drawn here are asked for once only.
        new.lm = lm.copy(temperature=temperature, cache=False, **number)
        # A predictor's own settings would go before those of its LM.
        new.config = {key: value for key, value in old.config.items() if key not in _PER_CALL}
    return copied


def _score(post: Post, answer: Prediction, metric: Metric) -> float:
    """The score of one answer; 0 of a failed one, which says nothing and would be right about a post without names."""
    if answer.error is not None:
        return 0.0
    score = float(metric(post, answer))
    if not -_NEAR <= score <= 1 + _NEAR:
        raise InputError(f"The metric's score of post {post.id!r} is out of range", received=score, accepted="0..1")
    return score


def _sorted_out(posts: Sequence[Post], scores: Mapping[str, tuple[float, ...]], failed: int) -> FilteredPosts:
    right = tuple(post.id for post in posts if min(scores[post.id]) >= 1 - _NEAR)
    wrong = tuple(post.id for post in posts if max(scores[post.id]) <= _NEAR)
    kept = tuple(post for post in posts if post.id not in {*right, *wrong})
    if not kept:
        LOG.warning(
            "No post would be left: %d are always answered right and %d never (%d answers failed); all are kept",
            len(right),
            len(wrong),
            failed,
        )
        return FilteredPosts(tuple(posts), right, wrong, scores, failed)
    LOG.info("%d of %d posts kept: %d always right, %d never", len(kept), len(posts), len(right), len(wrong))
    return FilteredPosts(kept, right, wrong, scores, failed)
