"""`Collapse`: ends a stage of reinforcement learning when its sampled rewards collapse."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import TrainerCallback

from gmner.optimizers.training.checkpoints import last_checkpoint

LOG = logging.getLogger(__name__)

WINDOW = 10
"""Steps over which rewards are averaged."""

LOST = 0.3
"""Share of the best average whose loss is a collapse."""


class Collapse(TrainerCallback):
    """Ends training when the rewards of the last ten steps are 30 % below their best average.

    A policy that has begun to write nonsense rarely recovers, and its answers take several times as long as before.
    A stage that is validated ends with its best weights, as always. Another one ends with those of its last checkpoint
    before the rewards began to fall, if it has one. A warning says what happened.

    The averages are computed from the trainer's log, so that a resumed stage decides as an uninterrupted one.

    Args:
        folder: The stage's folder, with its checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop after this step if the rewards have collapsed."""
        rewards = [(entry["step"], entry["reward"]) for entry in state.log_history if "reward" in entry]
        logged = [(step, reward) for step, reward in rewards if not math.isnan(reward)]  # of a step without any reward
        means = averages([reward for _, reward in logged])
        if control.should_training_stop or not collapsed(means):
            return
        best = max(means)
        if not args.load_best_model_at_end:
            highest = logged[means.index(best) + WINDOW - 1][0]
            checkpoint = last_checkpoint(self._folder, before=highest + 1)
            if checkpoint is not None:
                args.load_best_model_at_end, state.best_model_checkpoint = True, str(checkpoint)
        kept = Path(state.best_model_checkpoint).name if state.best_model_checkpoint else "none, the last weights stay"
        LOG.warning(
            "CVO stops after step %d of %d, because its rewards have collapsed: %.2f over the last %d steps, %.2f at "
            "best. Checkpoint that is used instead: %s. Remedy: a lower rate, or a KL term (beta)",
            state.global_step, state.max_steps, means[-1], WINDOW, best, kept,
        )  # fmt: skip
        control.should_training_stop = True


def averages(rewards: Sequence[float]) -> list[float]:
    """The mean of each `WINDOW` consecutive values."""
    return [fmean(rewards[end - WINDOW : end]) for end in range(WINDOW, len(rewards) + 1)]


def collapsed(means: Sequence[float]) -> bool:
    """Whether the last average is lower than the best one by more than the share `LOST` of it."""
    return bool(means) and means[-1] < max(means) - LOST * abs(max(means))
