"""`ValidationMonitor`: validates during training, keeps the best weights, and stops a stage early or at a deadline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from gmner.optimizers.training.process_group import ProcessGroup
from gmner.optimizers.training.settings import Every
from gmner.optimizers.training.trl_seams import replace_evaluation

METRIC = "gmner_f1"
"""Name of the figure by which the best weights of a stage are chosen."""

_AUTO_SCORINGS, _AUTO_LEAST_STEPS, _AUTO_LEAST_POSTS = 8, 10, 50


class Deadline(TrainerCallback):
    """Stops training after a number of minutes, with a checkpoint to resume from.

    Args:
        minutes: Minutes from now; None: no limit.
        launch: The processes, which have to stop at the same step.

    Attributes:
        stopped: Whether a stage was stopped before its last step.
    """

    def __init__(self, minutes: float | None, launch: ProcessGroup) -> None:
        self._until = None if minutes is None else time.monotonic() + 60 * minutes
        self._launch, self.stopped = launch, False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop after this step if the time is over."""
        until = self._until
        if until is None or state.global_step >= state.max_steps:
            return
        if self._launch.same(lambda: time.monotonic() > until):
            self.stopped = control.should_training_stop = control.should_save = True


@dataclass(frozen=True)
class ValidationMonitor:
    """Validation and deadline of a stage.

    Args:
        deadline: Stops the stage when the time is over; None: no limit.
        score: Returns the figures of a model in training, including `METRIC`; None: there is no validation set.
        every: Steps between validations; None: no validation.
        patience: Number of consecutive validations without improvement after which the stage stops.
    """

    deadline: Deadline | None = None
    score: Callable[[Any], Mapping[str, float]] | None = None
    every: int | None = None
    patience: int = 3

    @property
    def scores(self) -> bool:
        """Whether the stage is validated during training."""
        return self.score is not None and self.every is not None

    def arguments(self, save_steps: int) -> dict[str, Any]:
        """Arguments of transformers' `TrainingArguments` that determine when to validate and to save."""
        if not self.scores:
            return {"save_steps": save_steps}
        return {
            "eval_strategy": "steps", "eval_steps": self.every, "save_steps": self.every,
            "load_best_model_at_end": True, "metric_for_best_model": METRIC, "greater_is_better": True,
            "restore_callback_states_from_checkpoint": True,
        }  # fmt: skip

    def rows(self, rows: Dataset) -> Dataset | None:
        """The evaluation set that transformers requires if a stage is validated; it is not used."""
        return rows.select([0]) if self.scores else None

    def attach(self, trainer: Trainer) -> None:
        """Add the callbacks, and have the trainer evaluate by `score`, with its own early stopping and best weights."""
        if self.deadline is not None:
            trainer.add_callback(self.deadline)
        score = self.score
        if score is None or not self.scores:
            return

        def evaluate() -> dict[str, float]:
            figures = {f"eval_{name}": value for name, value in score(trainer.model).items()}
            trainer.log(figures)
            if math.isnan(figures[f"eval_{METRIC}"]):
                figures[f"eval_{METRIC}"] = -math.inf  # no value is greater than NaN, which would stay the best
            return figures

        replace_evaluation(trainer, evaluate)
        trainer.add_callback(EarlyStoppingCallback(self.patience))


NO_MONITORING = ValidationMonitor()
"""No validation and no deadline."""


def resolve_every(every: Every, steps: int, posts: int) -> int | None:
    """Replace `auto`: validate eight times, at least ten steps apart, if the validation set has 50 posts or more.

    Args:
        every: Steps between validations, as set by the user.
        steps: Number of steps of the stage.
        posts: Number of posts of the validation set; 0: there is none.
    """
    if every != "auto":
        return every
    return max(_AUTO_LEAST_STEPS, math.ceil(steps / _AUTO_SCORINGS)) if posts >= _AUTO_LEAST_POSTS else None
