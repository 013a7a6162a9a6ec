"""`ValidationMonitor`: scores a stage on the valset while it trains, keeps its best weights, and ends it in time."""

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

METRIC = "gmner_f1"
"""What tells the best weights of a stage."""

_AUTO_SCORINGS, _AUTO_LEAST_STEPS, _AUTO_LEAST_POSTS = 8, 10, 50


class Deadline(TrainerCallback):
    """Ends training when its minutes are over, with a checkpoint to go on from.

    Args:
        minutes: From now on; None: no end.
        launch: The processes that must agree.

    Attributes:
        stopped: Whether a stage was ended before its last step.
    """

    def __init__(self, minutes: float | None, launch: ProcessGroup) -> None:
        self._until = None if minutes is None else time.monotonic() + 60 * minutes
        self._launch, self.stopped = launch, False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop behind this step when time is up."""
        until = self._until
        if until is None or state.global_step >= state.max_steps:
            return
        if self._launch.same(lambda: time.monotonic() > until):
            self.stopped = control.should_training_stop = control.should_save = True


@dataclass(frozen=True)
class ValidationMonitor:
    """What looks at a stage while it trains.

    Args:
        deadline: Ends it when time is up; None: nothing does.
        score: The figures of a model in training, `METRIC` among them; None: there is no valset.
        every: Steps between scorings; None: none.
        patience: Scorings in a row without a better one that end the stage.
    """

    deadline: Deadline | None = None
    score: Callable[[Any], Mapping[str, float]] | None = None
    every: int | None = None
    patience: int = 3

    @property
    def scores(self) -> bool:
        """Whether the stage is scored as it goes."""
        return self.score is not None and self.every is not None

    def arguments(self, save_steps: int) -> dict[str, Any]:
        """The arguments of transformers' `TrainingArguments` that say when to score and to save."""
        if not self.scores:
            return {"save_steps": save_steps}
        return {
            "eval_strategy": "steps", "eval_steps": self.every, "save_steps": self.every,
            "load_best_model_at_end": True, "metric_for_best_model": METRIC, "greater_is_better": True,
            "restore_callback_states_from_checkpoint": True,
        }  # fmt: skip

    def rows(self, rows: Dataset) -> Dataset | None:
        """What transformers wants to see where a stage is scored as it goes; nothing reads it."""
        return rows.select([0]) if self.scores else None

    def attach(self, trainer: Trainer) -> None:
        """Let the trainer's own evaluation, which it has early stopping and best weights for, be that of the valset."""
        if self.deadline is not None:
            trainer.add_callback(self.deadline)
        score = self.score
        if score is None or not self.scores:
            return

        def evaluate(*_: Any, **__: Any) -> dict[str, float]:
            figures = {f"eval_{name}": value for name, value in score(trainer.model).items()}
            trainer.log(figures)
            if math.isnan(figures[f"eval_{METRIC}"]):
                figures[f"eval_{METRIC}"] = -math.inf  # nothing is greater than NaN: it would stay the best
            trainer.control = trainer.callback_handler.on_evaluate(
                trainer.args, trainer.state, trainer.control, figures
            )
            return figures

        trainer.evaluate = evaluate
        trainer.add_callback(EarlyStoppingCallback(self.patience))


NO_MONITORING = ValidationMonitor()
"""No validation and no deadline."""


def resolve_every(every: Every, steps: int, posts: int) -> int | None:
    """What `auto` means: an eighth of the steps, at least ten, on a valset that tells one checkpoint from another.

    Args:
        every: Steps between scorings as they are set.
        steps: Steps of the stage.
        posts: Posts of the valset; 0: there is none.
    """
    if every != "auto":
        return every
    return max(_AUTO_LEAST_STEPS, math.ceil(steps / _AUTO_SCORINGS)) if posts >= _AUTO_LEAST_POSTS else None
