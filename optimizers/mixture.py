"""Training sets with posts of several tasks: how often each task is drawn, and what is held out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, get_args

from gmner.data.post import Post
from gmner.optimizers.reward_set import RewardSet
from gmner.optimizers.rewards.formulas import APPLIED, FORMULAS
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import Task
from gmner.signatures.number_checks import check_positive

_T = TypeVar("_T")
_TASKS: tuple[Task, ...] = get_args(Task)


def check_weights(weights: object) -> None:
    """Check the weights of tasks.

    Raises:
        InputError: Not a mapping from task to weight, an unknown task, or a weight that is negative or no number.
    """
    if not isinstance(weights, Mapping):
        accepted = "a mapping, as {'mner': 0.5}"
        raise InputError("task_weights must be a mapping from task to weight", received=weights, accepted=accepted)
    for task, weight in weights.items():
        if task not in _TASKS:
            raise InputError("task_weights has an unknown task", received=task, accepted=", ".join(_TASKS))
        check_positive(f"task_weights[{task!r}]", weight, zero=True)


def drawn(items: Sequence[_T], task_of: Callable[[_T], Task], weights: Mapping[str, float], seed: int) -> list[_T]:
    """Repeat or leave out items by the weights of their tasks.

    Args:
        items: Posts, or what was made of them.
        task_of: The task of an item.
        weights: How often an item of each task is drawn on average: with 2 twice, with 0.5 half of the items once; a
            task without a weight has 1.
        seed: Seed of the choice of the items that are drawn once more than others.

    Returns:
        The drawn items in the order of `items`.
    """
    times = [0] * len(items)
    rng = random.Random(f"tasks/{seed}")
    for task in _TASKS:
        places = [place for place, item in enumerate(items) if task_of(item) == task]
        whole, rest = divmod(round(weights.get(task, 1.0) * len(places)), len(places) or 1)
        for place in places:
            times[place] = whole
        for place in rng.sample(places, rest):
            times[place] += 1
    return [item for item, count in zip(items, times, strict=True) for _ in range(count)]


def unrewarded(posts: Iterable[Post], rewards: RewardSet) -> list[Task]:
    """The tasks of posts to which none of the rewards applies; a user's own reward is taken to apply to all."""
    tasks = {post.task for post in posts}
    applied = {task: APPLIED.get(task, FORMULAS.keys()) & rewards.functions.keys() for task in tasks}
    return [] if rewards.own else sorted(task for task in tasks if not applied[task])


def main_task(posts: Iterable[Post], least: int) -> Task:
    """The task whose posts validate a program: GMNER if there are enough such posts, else the names alone.

    Args:
        posts: The training set.
        least: Number of posts that is enough.
    """
    counts = Counter(post.task for post in posts)
    return "gmner" if counts["gmner"] >= min(least, counts["mner"] + 1) else "mner"


def task_counts(posts: Iterable[Post]) -> str:
    """The number of posts of each task in brackets, as ` (gmner 60, mner 20)`; empty if all are of GMNER."""
    counts = Counter(post.task for post in posts)
    listed = ", ".join(f"{task} {counts[task]:,}" for task in _TASKS if counts[task])
    return f" ({listed})" if counts.keys() - {"gmner"} else ""
