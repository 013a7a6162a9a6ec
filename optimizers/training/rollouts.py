"""The answers that CVO samples: TRL writes them as one parquet file per step; read here and shown on a page."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gmner.data.files.atomic import whole_text
from gmner.data.pages.answers_page import render_html
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.optimizers.checked_rewards import kept_weights
from gmner.optimizers.rewards.judgement import completion_text
from gmner.optimizers.rewards.staged_calls import call_title, whole_answer
from gmner.optimizers.training.program_calls import post_inputs
from gmner.programs.adapter import PromptAdapter
from gmner.signatures.errors import AnswerError, InputError
from gmner.signatures.wire import parse_answer

LOG = logging.getLogger(__name__)
FOLDER = "completions"
PAGE = "rollouts.html"


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled answer.

    Attributes:
        step: The optimizer step that learned from it, from 1.
        post_id: Id of the post.
        text: The sampled text.
        rewards: Reward name -> value, in 0..1 for the five of MCR; None: the reward does not apply.
        advantage: GRPO's advantage: how much better the answer is than the mean of its group.
        call: The call of a staged program that it answers, see `gmner.optimizers.rewards.staged_calls`; empty: the
            program answers a post in one call.
    """

    step: int
    post_id: str
    text: str
    rewards: Mapping[str, float | None]
    advantage: float
    call: str = ""

    @property
    def rank(self) -> float:
        """Sort key: the best answer first, answers without an advantage (NaN) last."""
        return math.inf if math.isnan(self.advantage) else -self.advantage


def kept_rollouts(folder: Path) -> list[Path]:
    """The files with the rollouts of each step, in order; empty if rollouts are not saved."""
    return sorted((folder / FOLDER).glob("completions_*.parquet"))


def read_rollouts(folder: Path) -> list[Rollout]:
    """Read the rollouts of a stage, step by step.

    An incomplete file is skipped with a warning.

    Args:
        folder: The folder of the stage `cvo` in a run directory.

    Raises:
        InputError: The folder has no rollouts.
    """
    files = kept_rollouts(folder)
    if not files:
        raise InputError("The folder has no rollouts", received=str(folder), accepted="the folder `cvo` of a run")
    names = list(kept_weights(folder))
    return [
        Rollout(
            step=row["step"],
            post_id=row["post"],
            text=completion_text(row["completion"]),
            rewards={name: _applied(row[name]) for name in names},
            advantage=row["advantage"],
            call=row.get("call", ""),
        )
        for file in files
        for row in _rows(file)
    ]


def _rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file; none if it is incomplete or was removed in the meantime."""
    try:
        return pq.read_table(file, partitioning=None).to_pylist()
    except (OSError, pa.ArrowException) as error:
        LOG.warning("%s is not a complete parquet file and is skipped: %s", file, error)
        return []


def _applied(value: float | None) -> float | None:
    """Convert NaN, which TRL writes for a reward that does not apply, to None."""
    return None if value is None or math.isnan(value) else value


def write_rollout_page(folder: Path, posts: Mapping[str, Post], adapter: PromptAdapter, steps: int = 2) -> Path:
    """Write `rollouts.html` into a stage's folder: the answers of the first and the last steps.

    Each post of a step has a card with its answers, those with the highest advantage first, each with its rewards. A
    filter selects the step.

    Args:
        folder: The folder of the stage `cvo` in a run directory.
        posts: The posts of D2 by id.
        adapter: The adapter of the program that was trained.
        steps: Number of steps at the beginning, and at the end.

    Returns:
        The path of the page.

    Raises:
        InputError: The folder has no rollouts.
    """
    groups: dict[tuple[int, str, str], list[Rollout]] = {}
    for rollout in read_rollouts(folder):
        groups.setdefault((rollout.step, rollout.post_id, rollout.call), []).append(rollout)
    every = sorted({step for step, _, _ in groups})
    kept = {*every[:steps], *every[-steps:]}
    shown = [(step, posts[post_id], sampled) for (step, post_id, _), sampled in groups.items() if step in kept]
    answers = [_answers(post, sampled, adapter) for _, post, sampled in shown]
    pairs = [
        (replace(post, slice=f"{step}"), {name: answer for name, (answer, _) in found.items()})
        for (step, post, _), found in zip(shown, answers, strict=True)
    ]
    notes = [{name: note for name, (_, note) in found.items()} for found in answers]
    page = folder / PAGE
    with whole_text(page) as file:
        file.write(render_html(pairs, title="What CVO sampled", notes=notes, slices_are="step"))
    return page


def _answers(post: Post, sampled: Sequence[Rollout], adapter: PromptAdapter) -> dict[str, tuple[Prediction, str]]:
    """The answers to one post with their rewards as text, those with the highest advantage first."""
    answers = {}
    for place, rollout in enumerate(sorted(sampled, key=lambda rollout: rollout.rank), 1):
        name = f"{call_title(rollout.call)}, answer {place}" if rollout.call else f"answer {place}"
        rewards = ", ".join(f"{n} {'-' if v is None else f'{v:.2f}'}" for n, v in rollout.rewards.items())
        answers[name] = _prediction(post, rollout, adapter), f"{rewards}; advantage {rollout.advantage:+.2f}"
    return answers


def _prediction(post: Post, rollout: Rollout, adapter: PromptAdapter) -> Prediction:
    """The answer of a rollout; for a call of a staged program with the text of the call as its reasoning."""
    call, text = rollout.call, rollout.text
    try:
        whole = (whole_answer(text, call, post.text, adapter.labels) or text) if call else text
        answer = parse_answer(whole, post.text, adapter.labels, adapter.request(post_inputs(post)).frame)
    except AnswerError as error:
        return Prediction.failed(post.id, post.text, error)
    return Prediction(post.id, post.text, text if call else answer.reasoning, tuple(answer.entities))
