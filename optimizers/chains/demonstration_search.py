"""The search for demonstrations: scores sets of them on the validation set, within a budget of metric calls.

The search is our own because DSPy's optimizers solve other problems. `LabeledFewShot` draws examples without a chain
and without regard to what they show. `BootstrapFewShotWithRandomSearch` takes posts that the model itself answered
correctly; for a model with a modality bias, these are the posts where the bias does no harm. It also scores every set
on the whole validation set, without a budget. `MIPROv2` builds its sets in the same way and asks a second model for
instructions. All of them can be used on the same program. This search covers chains that walk through the four
constraints.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

import dspy
from tqdm import tqdm

from gmner.data.post import Post
from gmner.data.scoring.metric import gmner_metric, to_example
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.chains.demonstrations import Demo, DemoWriter, check_demonstrations, covering_chains
from gmner.optimizers.run_directory import RunDirectory
from gmner.programs.corpus import answer_post
from gmner.programs.trainable import Trainable
from gmner.signatures.errors import InputError, RunDirectoryError

LOG = logging.getLogger(__name__)

LEAST_POSTS = 8
"""Minimum number of posts before a set is dropped, if validation set and budget allow; else fewer sets are tried."""

RECORD = "demonstrations.json"
"""The file of a run directory with the sets that were tried, their scores and the chosen set."""

_THREADS = 16
# Errors of a single request. An outage or a missing account says nothing about a set, so those are not among them.
_REFUSED = (dspy.LMInvalidRequestError, dspy.LMTimeoutError)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set of demonstrations and its score.

    Attributes:
        kind: `none`, `greedy` or `random`; see `candidates`.
        chains: The chains of the set, in prompt order.
        score: Mean F1 of the posts it was scored on, 0..1. None: it was not scored, or the metric returned NaN.
        calls: Metric calls spent on it.
        errors: Number of these calls whose post could not be answered; each counts 0.
    """

    kind: str
    chains: tuple[Chain, ...]
    score: float | None = None
    calls: int = 0
    errors: int = 0

    def to_record(self) -> dict[str, Any]:
        """The candidate as JSON data: `kind`, `ids`, `styles`, `score`, `calls`, `errors`."""
        ids, styles = [chain.post_id for chain in self.chains], [chain.style for chain in self.chains]
        return {
            "kind": self.kind, "ids": ids, "styles": styles, "score": self.score, "calls": self.calls,
            "errors": self.errors,
        }  # fmt: skip


def candidates(
    chains: Sequence[Chain], posts: Mapping[str, Post], count: int, sets: int, rng: random.Random
) -> list[Candidate]:
    """The empty set, the greedy set, and up to `sets` random sets under the same coverage rule.

    Args:
        chains: Chains to choose from.
        posts: Their posts by id.
        count: Demonstrations per set. 0: only the empty set is returned.
        sets: Random sets to draw; duplicates are dropped.
        rng: Source of randomness.
    """
    drawn = [Candidate("none", ()), Candidate("greedy", covering_chains(chains, posts, count))]
    drawn += [Candidate("random", covering_chains(chains, posts, count, rng)) for _ in range(sets)]
    distinct: dict[frozenset[tuple[str, str]], Candidate] = {}
    for candidate in drawn:
        distinct.setdefault(frozenset(map(_name, candidate.chains)), candidate)
    return list(distinct.values())


def _name(chain: Chain) -> tuple[str, str]:
    return chain.post_id, chain.style


def plan_rounds(sets: int, posts: int, budget: int) -> list[tuple[int, int]]:
    """Plan the rounds of a successive halving: after each round, the better half of the sets is scored on more posts.

    All sets of a round are scored on the same posts, so that only comparable scores are compared. Each round may spend
    an equal share of the budget. The last round is the one that completes the validation set, or the one between two
    sets. If the budget suffices for every set on every post, there is a single round.

    Args:
        sets: Number of sets, at least 2. If the budget is too small for all, only the first are scored.
        posts: Number of posts of the validation set.
        budget: Maximum number of metric calls over all rounds.

    Returns:
        Rounds as (sets, further posts for each of them); empty if the budget cannot score two sets on a single post.
    """
    if 0 < sets * posts <= budget:
        return [(sets, posts)]
    least = min(LEAST_POSTS, posts)
    sets = next((n for n in range(sets, 2, -1) if n * _halvings(n) * least <= budget), 2)
    plan = []
    for left in range(_halvings(sets), 0, -1):
        more = min(posts, budget // (left * sets))
        posts, budget = posts - more, budget - more * sets
        if more:
            plan.append((sets, more))
        if not posts:
            break
        sets = (sets + 1) // 2
    return plan


def _halvings(sets: int) -> int:
    return (sets - 1).bit_length()


def search(
    program: Trainable,
    tried: Sequence[Candidate],
    write: Callable[[Chain], Demo],
    valset: Sequence[Post],
    budget: int,
    *,
    progress: bool = True,
) -> tuple[int, list[Candidate]]:
    """Score sets of demonstrations on the validation set and choose one; see `plan_rounds` for the rule.

    Of sets with equal scores, the one with fewer demonstrations is chosen, then the earlier one. A post that cannot be
    answered (no valid answer, a prompt that is too long, a timeout) counts 0 and is reported in `errors`; an outage of
    the server stops the search. A post is ignored if the metric returns NaN for it with every set. A set with NaN for
    a post that has a score with another set gets no score and is not chosen.

    Args:
        program: The program. Its demonstrations are replaced in copies.
        tried: The sets in the order of `candidates`.
        write: Makes the demonstration of a chain.
        valset: Annotated posts, used in this order. Their scores select a set, so they are not a fair estimate of it.
        budget: Maximum number of metric calls over all sets, and thus of answers.
        progress: Show a progress bar.

    Returns:
        The index of the chosen set (the greedy one if the budget is below two calls, or if no set has a score), and
        the sets with their scores. A set that the budget did not reach has none.

    Raises:
        InputError: A post of the validation set is not annotated.
    """
    bare = next((post.id for post in valset if post.entities is None), None)
    if bare is not None:
        raise InputError("A post of the validation set is not annotated", received=bare, accepted="posts with entities")
    race = _Race([_with_demonstrations(program, [write(chain) for chain in item.chains]) for item in tried])
    plan = plan_rounds(len(tried), len(valset), budget) if len(tried) > 1 else []
    if not plan:
        return min(1, len(tried) - 1), list(tried)
    alive, seen = list(range(len(tried))), 0
    with tqdm(total=sum(n * more for n, more in plan), desc="demonstrations", disable=not progress) as bar:
        for sets, more in plan:
            alive = alive[:sets]
            race.run(alive, valset[seen : seen + more], bar)
            seen += more
            alive.sort(key=lambda place: (_rank(race.score(place)), len(tried[place].chains), place))
    scored = [race.scored(place, item) for place, item in enumerate(tried)]
    if scored[alive[0]].score is None:
        LOG.warning(
            "The metric returned NaN for every set on the validation set: the greedy set of demonstrations is used "
            "without a score"
        )
        return min(1, len(tried) - 1), scored
    return alive[0], scored


def _rank(score: float | None) -> float:
    """Sorts the highest score first, and no score last."""
    return math.inf if score is None else -score


def _with_demonstrations(program: Trainable, demos: list[Demo]) -> Trainable:
    copy = program.deepcopy()
    copy.set_demonstrations(demos)
    return copy


class _Race:
    """Programs that differ in their demonstrations, and their scores so far."""

    def __init__(self, programs: Sequence[Trainable]) -> None:
        self.programs = programs
        self.values: list[list[float]] = [[] for _ in programs]
        self.errors = [0] * len(programs)

    def run(self, places: Sequence[int], posts: Sequence[Post], bar: Any) -> None:
        """Answer all of the posts with the programs at these places, many at the same time."""
        jobs = [(place, post) for post in posts for place in places]
        with ThreadPoolExecutor(_THREADS) as pool:
            futures = [pool.submit(copy_context().run, _value, self.programs[place], post) for place, post in jobs]
            try:
                for (place, _), future in zip(jobs, futures, strict=True):
                    value = future.result()
                    self.values[place].append(value or 0.0)
                    self.errors[place] += value is None
                    bar.update()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def score(self, place: int) -> float | None:
        """The mean so far, rounded so that the order of summation makes no difference; None if it is NaN."""
        values = [value for post, value in enumerate(self.values[place]) if self._scorable(post)]
        if not values or not all(map(math.isfinite, values)):
            return None
        return round(math.fsum(values) / len(values), 9)

    def _scorable(self, post: int) -> bool:
        """Whether the metric returned a number for a post with any of the programs."""
        return any(math.isfinite(values[post]) for values in self.values if post < len(values))

    def scored(self, place: int, item: Candidate) -> Candidate:
        """The candidate with its score."""
        if not self.values[place]:
            return item
        return replace(item, score=self.score(place), calls=len(self.values[place]), errors=self.errors[place])


def _value(program: Trainable, post: Post) -> float | None:
    """F1 of one post; None if it cannot be answered."""
    try:
        answer = answer_post(program, post)
    except dspy.LMUnsupportedModelError:
        raise
    except _REFUSED as error:
        LOG.info("No answer for post %r: %s", post.id, error)
        return None
    return None if answer.error else float(gmner_metric(to_example(post), answer))


@dataclass(frozen=True, slots=True)
class DemonstrationSearch:
    """Chooses the demonstrations of a compile.

    Args:
        settings: How they are chosen and checked.
        run: The run directory. `demos/` keeps the images of every set that was tried; the program sends them from
            there, and a bundle has copies. `demonstrations.json` keeps the sets with scores and calls, and which one
            was chosen; if it exists, its set is used without another search.
        seed: Seed of the random sets and of the order of the validation set.
        progress: Show a progress bar.
    """

    settings: Demonstrations
    run: RunDirectory
    seed: int = 0
    progress: bool = True

    def find(
        self,
        program: Trainable,
        count: int,
        chains: Sequence[Chain],
        posts: Mapping[str, Post],
        valset: Sequence[Post] | None,
    ) -> list[Demo]:
        """The demonstrations for a program, all checked before the first model call.

        Args:
            program: The program, with the LM that will receive them.
            count: Number of demonstrations; fewer are returned if they score as well on the validation set.
            chains: Chains to choose from.
            posts: Their posts by id.
            valset: Annotated posts to score sets on. None or empty: the greedy set is returned.

        Raises:
            InputError: A demonstration is faulty (see `check_demonstrations`), or a post of the validation set is not
                annotated.
            RunDirectoryError: `demonstrations.json` does not belong to these chains.
        """
        settings = self.settings
        write = DemoWriter(posts, program.adapter(), self.run.path / "demos", settings.side)
        if (self.run.path / RECORD).is_file():
            demos = [write(chain) for chain in _recorded(self.run, chains)]
            check_demonstrations(demos, program.labels, settings.check)
            return demos
        rng, budget = random.Random(f"demonstrations/{self.seed}"), settings.max_metric_calls if valset else None
        tried = candidates(chains, posts, count, settings.sets if budget else 0, rng)
        made = {_name(chain): write(chain) for candidate in tried for chain in candidate.chains}
        check_demonstrations(list(made.values()), program.labels, settings.check)
        shuffled = rng.sample(list(valset or ()), len(valset or ()))
        chosen, tried = search(
            program, tried, lambda chain: made[_name(chain)], shuffled, budget or 0, progress=self.progress
        )
        self.run.write_json(RECORD, _record(chosen, tried, budget))
        return [made[_name(chain)] for chain in tried[chosen].chains]


def _record(place: int, tried: Sequence[Candidate], budget: int | None) -> dict[str, Any]:
    calls = sum(item.calls for item in tried)
    sets = [item.to_record() for item in tried]
    return {"chosen": place, "calls": calls, "max_metric_calls": budget, "sets": sets}


def _recorded(run: RunDirectory, chains: Sequence[Chain]) -> list[Chain]:
    """The chains of the set that an earlier process chose."""
    record, by_name = run.read_json(RECORD), {_name(chain): chain for chain in chains}
    try:
        chosen = record["sets"][record["chosen"]]
        return [by_name[name] for name in zip(chosen["ids"], chosen["styles"], strict=True)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        remedy = f"Delete the file to choose demonstrations again: {error!r}"
        fact = f"{RECORD} of the run in {run.path} does not belong to its chains"
        raise RunDirectoryError(fact, remedy=remedy) from error
