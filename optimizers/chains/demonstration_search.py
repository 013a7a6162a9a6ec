"""The search for demonstrations: sets of them are scored on the valset, within a budget of metric calls.

DSPy's own optimizers do not do this job, so the search is ours. `LabeledFewShot` draws examples without a chain and
without regard to what they show. `BootstrapFewShotWithRandomSearch` takes what the model itself answered rightly, which
for a model with a modality bias are the posts where the bias does no harm, and scores every set on the whole valset,
without a bound. `MIPROv2` makes its sets in the same way and asks a second model for instructions. They all run beside
this one on the same program; what is searched here are chains that walk the four constraints.
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
from gmner.optimizers.chains.demonstrations import Demo, DemoWriter, Level, check_demonstrations, covering_chains
from gmner.optimizers.run_directory import RunDirectory
from gmner.programs.corpus import answer_post
from gmner.programs.trainable import Trainable
from gmner.signatures.errors import InputError, RunDirectoryError

LOG = logging.getLogger(__name__)

LEAST_POSTS = 8
"""On fewer posts no set is dropped, where valset and budget have that many; a smaller budget tries fewer sets."""

RECORD = "demonstrations.json"
"""The file of a run directory that says which sets were tried, what they scored and which was chosen."""

_THREADS = 16
# What a server refuses for one request. That it is down, or that there is no account, says nothing of a set.
_REFUSED = (dspy.LMInvalidRequestError, dspy.LMTimeoutError)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set of demonstrations and what it scored.

    Attributes:
        kind: `none`, `greedy` or `random`; see `candidates`.
        chains: The chains of the set, in the order in which they are sent.
        score: Mean F1 of the posts it was scored on, 0..1; None: it was not scored, or the metric gave no number.
        calls: Metric calls spent on it.
        errors: Posts among them that could not be answered; each counts 0.
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
    """No demonstrations, the greedy set, and up to `sets` random ones under the same rule of coverage.

    Args:
        chains: Chains to choose from.
        posts: Their posts by id.
        count: Demonstrations a set; 0: there is only the empty set.
        sets: Random sets to draw; one that was drawn before is dropped.
        rng: The source of randomness.
    """
    found = [Candidate("none", ()), Candidate("greedy", covering_chains(chains, posts, count))]
    found += [Candidate("random", covering_chains(chains, posts, count, rng)) for _ in range(sets)]
    distinct: dict[frozenset[tuple[str, str]], Candidate] = {}
    for item in found:
        distinct.setdefault(frozenset(map(_name, item.chains)), item)
    return list(distinct.values())


def _name(chain: Chain) -> tuple[str, str]:
    return chain.post_id, chain.style


def plan_rounds(sets: int, posts: int, budget: int) -> list[tuple[int, int]]:
    """The rounds of a successive halving: after each, the better half of the sets goes on to further posts.

    Every set of a round is scored on the same posts, so that only scores over equal posts are compared. Each round may
    spend an equal share of the budget; the last is the one that ends the valset, or the one between two sets. Where the
    budget reaches for every set and post, one round does it all.

    Args:
        sets: Sets at hand, at least 2; the first are taken where the budget is too small for all.
        posts: Posts of the valset.
        budget: Most metric calls over all rounds.

    Returns:
        Rounds as (sets, further posts for each of them); empty where two sets cannot be scored on a single post.
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
    """Score sets of demonstrations on the valset and choose one; see `plan_rounds` for the rule.

    Sets with equal scores: the one with fewer demonstrations, then the earlier one. A post that cannot be answered (no
    valid answer, a prompt that is too long, a timeout) counts 0 and is counted; a server that is down stops the search.
    A post for which the metric gives no number (NaN) with any set does not count; a set without a number for a post
    that others have one for has no score and is not chosen.

    Args:
        program: The program, whose own demonstrations are replaced in copies.
        tried: The sets in the order of `candidates`.
        write: Makes the demonstration of a chain.
        valset: Annotated posts, asked from the first on. The scores choose among the sets: report others.
        budget: Most metric calls, which are also most answers, over all sets.
        progress: Show a progress bar.

    Returns:
        The place of the chosen set (the greedy one where the budget is below two calls, or no set has a score) and the
        sets with their scores; a set that the budget did not reach has none.

    Raises:
        InputError: A post of the valset is not annotated.
    """
    bare = next((post.id for post in valset if post.entities is None), None)
    if bare is not None:
        raise InputError("A post of the valset is not annotated", received=bare, accepted="posts with entities")
    race = _Race([_demonstrated(program, [write(chain) for chain in item.chains]) for item in tried])
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
        LOG.warning("The metric gave no number on the valset: the greedy set of demonstrations is used without a score")
        return min(1, len(tried) - 1), scored
    return alive[0], scored


def _rank(score: float | None) -> float:
    """Sorts the highest score first, and no score last."""
    return math.inf if score is None else -score


def _demonstrated(program: Trainable, demos: list[Demo]) -> Trainable:
    copy = program.deepcopy()
    copy.set_demonstrations(demos)
    return copy


class _Race:
    """Programs that differ in their demonstrations, and what each scored so far."""

    def __init__(self, programs: Sequence[Trainable]) -> None:
        self.programs = programs
        self.values: list[list[float]] = [[] for _ in programs]
        self.errors = [0] * len(programs)

    def run(self, places: Sequence[int], posts: Sequence[Post], bar: Any) -> None:
        """Ask the programs at these places for all of the posts, many at once."""
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
        """The mean so far, rounded so that the order of the sum makes no difference; None if it is NaN."""
        values = [value for post, value in enumerate(self.values[place]) if self._scorable(post)]
        if not values or not all(map(math.isfinite, values)):
            return None
        return round(math.fsum(values) / len(values), 9)

    def _scorable(self, post: int) -> bool:
        """Whether the metric gave a number for a post with any of the programs."""
        return any(math.isfinite(values[post]) for values in self.values if post < len(values))

    def scored(self, place: int, item: Candidate) -> Candidate:
        """The candidate with what it scored."""
        if not self.values[place]:
            return item
        return replace(item, score=self.score(place), calls=len(self.values[place]), errors=self.errors[place])


def _value(program: Trainable, post: Post) -> float | None:
    """F1 of one post; None where it cannot be answered."""
    try:
        answer = answer_post(program, post)
    except dspy.LMUnsupportedModelError:
        raise
    except _REFUSED as error:
        LOG.info("Post %r got no answer: %s", post.id, error)
        return None
    return None if answer.error else float(gmner_metric(to_example(post), answer))


@dataclass(frozen=True, slots=True)
class DemonstrationSearch:
    """How the demonstrations of a compile are found.

    Args:
        count: Demonstrations in the prompt.
        sets: Random sets to try beside none and the greedy one.
        max_metric_calls: Most metric calls on the valset; None: the greedy set is taken as it is.
        side: Longest side of a demonstration's picture in pixels.
        check: What a fault in a demonstration does; see `check_demonstrations`.
    """

    count: int
    sets: int = 8
    max_metric_calls: int | None = None
    side: int = 512
    check: Level = "error"

    def find(
        self,
        program: Trainable,
        chains: Sequence[Chain],
        posts: Mapping[str, Post],
        valset: Sequence[Post] | None,
        run: RunDirectory,
        *,
        seed: int = 0,
        progress: bool = True,
    ) -> list[Demo]:
        """The demonstrations for a program, all of them checked before the program is asked anything.

        Args:
            program: The program, with the LM that will be sent them.
            chains: Chains to choose from.
            posts: Their posts by id.
            valset: Annotated posts to score sets on; None or empty: the greedy set.
            run: Keeps the pictures of every set that was tried in `demos/`, from where the program sends them (a bundle
                has copies), and `demonstrations.json`: the sets with scores and calls, and which was chosen. What is
                found there is not searched again.
            seed: Seed of the random sets and of the order of the valset.
            progress: Show a progress bar.

        Raises:
            InputError: A demonstration has a fault (see `check_demonstrations`), or a post of the valset is not
                annotated.
            RunDirectoryError: `demonstrations.json` is not of these chains.
        """
        write = DemoWriter(posts, program.adapter(), run.path / "demos", self.side)
        if (run.path / RECORD).is_file():
            demos = [write(chain) for chain in _recorded(run, chains)]
            check_demonstrations(demos, program.labels, self.check)
            return demos
        rng, budget = random.Random(f"demonstrations/{seed}"), self.max_metric_calls if valset else None
        tried = candidates(chains, posts, self.count, self.sets if budget else 0, rng)
        made = {_name(chain): write(chain) for item in tried for chain in item.chains}
        check_demonstrations(list(made.values()), program.labels, self.check)
        asked = rng.sample(list(valset or ()), len(valset or ()))
        place, tried = search(program, tried, lambda chain: made[_name(chain)], asked, budget or 0, progress=progress)
        run.write_json(RECORD, _record(place, tried, budget))
        return [made[_name(chain)] for chain in tried[place].chains]


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
        remedy = f"Delete it to choose anew: {error!r}"
        raise RunDirectoryError(f"{RECORD} of the run in {run.path} is not of its chains", remedy=remedy) from error
