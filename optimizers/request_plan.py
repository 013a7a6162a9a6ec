"""What a compile would ask of LMs on servers: requests, tokens and cost, estimated from a few that are sent."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dspy

from gmner.data.post import Post
from gmner.optimizers.chains.demonstration_search import plan_rounds
from gmner.optimizers.chains.demonstrations import DemoWriter, covering_chains
from gmner.optimizers.chains.styles.model_written import LLMStyle, asking_with_history
from gmner.optimizers.compile_settings import CompileSettings
from gmner.optimizers.mrsi import MRSI
from gmner.programs.corpus import answer_post
from gmner.programs.trainable import Trainable
from gmner.signatures.errors import InputError

SENT = 2
"""Number of posts that are answered, and of chains that are written in each model-written style, to measure."""

_CHOICE = 8  # chains to choose each demonstration from


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """The requests that a compile would send to one LM for one purpose.

    Attributes:
        model: The name of the LM.
        purpose: `answers` or `chains`.
        requests: Expected number of requests.
        tokens_in: Expected number of tokens of all prompts; 0: the server does not report them.
        tokens_out: The same for the answers.
        cost: Expected cost in US dollars by DSPy's price list; None: no price is known.
    """

    model: str
    purpose: str
    requests: int
    tokens_in: int
    tokens_out: int
    cost: float | None


def request_plans(
    settings: CompileSettings,
    student: Trainable,
    train: Sequence[Post],
    val: Sequence[Post] | None,
    teacher: dspy.BaseLM | None,
    *,
    served: bool,
) -> list[tuple[str, Callable[[], RequestPlan]]]:
    """The measurements that a plan needs: a description, and what makes it.

    Args:
        settings: The settings of the compile.
        student: The program to compile.
        train: The posts that get chains.
        val: Annotated posts on which the compile scores programs, or None.
        teacher: The LM of model-written styles that have none of their own.
        served: Whether the weights of the student are not accessible, so that its answers are requests.
    """
    mrsi, plans = settings.mrsi, list[tuple[str, Callable[[], RequestPlan]]]()
    if mrsi is not None and mrsi.chains_from is None:
        for name, style in mrsi.style_set.items():
            if isinstance(style, LLMStyle):
                share = mrsi.chains_per_post / len(mrsi.style_set)
                make = partial(_chains, mrsi, style.taught_by(teacher), train, share, student, settings.seed)
                plans.append((f"chains in style {name}", make))
    if served and val:
        plans.append(("answers", partial(_answers, settings, student, train, val)))
    return plans


def _chains(
    mrsi: MRSI, style: LLMStyle, train: Sequence[Post], share: float, student: Trainable, seed: int
) -> RequestPlan:
    """Write chains for the first posts; a chain that fails its check takes further requests."""
    posts, measured = train[:SENT], copy.copy(style)
    measured.lm = lm = _fresh(style.lm)
    with asking_with_history():
        replace(mrsi, styles={"measured": measured}, per_post=1).chains(posts, student.adapter(), random.Random(seed))
    return _scaled(lm, "chains", len(train) * share / len(posts))


def _answers(settings: CompileSettings, student: Trainable, train: Sequence[Post], val: Sequence[Post]) -> RequestPlan:
    """Answer the first validation posts with as many demonstrations as the compile would set."""
    program, lm = student.deepcopy(), _fresh(student.model)
    program.set_lm(lm)
    answers, mrsi = len(val), settings.mrsi
    if mrsi is not None:
        answers += len(val)
        count = mrsi.demonstrations.wanted(trained=False) if student.whole_answers else None
        if count is not None:
            templates = {name: getattr(style, "template", style) for name, style in mrsi.style_set.items()}
            adapter, rng = student.adapter(), random.Random(settings.seed)
            whole = [post for post in train if post.task == "gmner"]
            chains = replace(mrsi, styles=templates).chains(whole[: _CHOICE * max(count, 1)], adapter, rng)
            posts = {post.id: post for post in train}
            write = DemoWriter(posts, adapter, None, mrsi.demonstrations.side)
            program.set_demonstrations([write(chain) for chain in covering_chains(chains, posts, count)])
            answers += _searched(mrsi, count, len(val))
    with dspy.context(disable_history=False):  # the history has the tokens and the cost
        predictions = [answer_post(program, post) for post in val[:SENT]]
    if not lm.history:
        fact = f"The first {len(predictions)} posts of the validation set cannot be answered"
        raise InputError(fact, received=predictions[0].id, remedy=(predictions[0].error or {}).get("message", ""))
    return _scaled(lm, "answers", answers / len(predictions))


def _searched(mrsi: MRSI, count: int, posts: int) -> int:
    """Number of answers of the search for demonstrations, if all sets that it draws are distinct."""
    budget = mrsi.demonstrations.max_metric_calls
    if not budget or not count:
        return 0
    return sum(sets * more for sets, more in plan_rounds(mrsi.demonstrations.sets + 2, posts, budget))


def _fresh(lm: Any) -> Any:
    """The LM with a history of its own and without a cache, whose answers would cost nothing."""
    return lm.copy(cache=False)


def _scaled(lm: Any, purpose: str, factor: float) -> RequestPlan:
    """The plan of all requests, scaled up from those in the history of `lm`."""
    calls = lm.history
    usage = [call["usage"] or {} for call in calls]
    costs = [call["cost"] for call in calls]
    return RequestPlan(
        lm.model,
        purpose,
        round(len(calls) * factor),
        round(sum(tokens.get("prompt_tokens") or 0 for tokens in usage) * factor),
        round(sum(tokens.get("completion_tokens") or 0 for tokens in usage) * factor),
        None if None in costs or not costs else sum(costs) * factor,
    )
