"""The answers that CVO samples, which TRL writes as one parquet file per step. Reading them loads no torch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gmner.optimizers.checked_rewards import kept_weights
from gmner.optimizers.rewards.judgement import completion_text
from gmner.signatures.errors import InputError

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

    @property
    def rewards_text(self) -> str:
        """The rewards and the advantage as one line."""
        rewards = ", ".join(f"{name} {'not rated' if v is None else f'{v:.2f}'}" for name, v in self.rewards.items())
        return f"{rewards}; advantage {self.advantage:+.2f}"


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
