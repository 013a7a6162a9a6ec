"""Chooses the program that a compile returns, and explains why it may be the one that the compile started with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch

from gmner.data.scoring.evaluation import Evaluation
from gmner.optimizers.run_summary import TITLES
from gmner.optimizers.training import trainable as training
from gmner.programs.trainable import Trainable


class UnchangedProgramWarning(UserWarning):
    """A compile returned the program that it started with, unchanged."""


def figure(scores: Evaluation) -> float:
    """The figure that stages are compared by: GMNER F1, or MNER F1 if the regions of the posts are not annotated."""
    return scores.gmner.f1 if scores.grounded else scores.mner.f1


def best_stage(scores: Mapping[str, Evaluation], last: str) -> str:
    """The stage with the highest `figure`; of equal ones, the first. A stage with NaN is never chosen.

    Args:
        scores: Stage -> its scores, in order.
        last: The stage that is chosen if no stage has a score.
    """
    known = {stage: value for stage, evaluation in scores.items() if not math.isnan(value := figure(evaluation))}
    return max(known, key=lambda name: known[name]) if known else last


def fallen(scores: Mapping[str, Evaluation]) -> dict[str, str]:
    """Describe the stages that scored below the previous stage: stage -> sentence.

    Args:
        scores: Stage -> its scores, in order.
    """
    falls = {}
    for (earlier, old), (stage, new) in pairwise(scores.items()):
        if figure(new) < figure(old):
            name = "GMNER F1" if new.grounded else "MNER F1"
            falls[stage] = (
                f"{name} on the validation set of {new.posts} posts is {figure(new):.1f} {TITLES[stage]}, less than "
                f"{TITLES[earlier]} ({figure(old):.1f})"
            )
    return falls


def why_unchanged(programs: Mapping[str, Trainable], chosen: str, *, scored: bool, stopped: bool) -> str:
    """Why the chosen program is the one that a compile started with; empty if it is another.

    Args:
        programs: Stage -> the program after it; `before` is the first.
        chosen: The stage that was chosen.
        scored: Whether it was chosen by scores on a validation set.
        stopped: Whether `max_minutes` stopped the compile.
    """
    late = "; max_minutes stopped the compile" if stopped else ""
    if chosen == "before":
        reason = "no stage scored higher on the validation set" if scored and len(programs) > 1 else "no stage ran"
        return reason + late
    return "" if _differ(programs["before"], programs[chosen]) else f"no weight and no demonstration changed{late}"


def _differ(before: Trainable, after: Trainable) -> bool:
    """Whether two programs differ in demonstrations or weights."""
    if before.demonstrations != after.demonstrations:
        return True
    old, new = training.trainable_engine(before.model), training.trainable_engine(after.model)
    if old is None or new is None or old is new:
        return False
    old_weights, new_weights = _weights(old.model), _weights(new.model)
    added = new_weights.keys() - old_weights.keys()
    if old_weights.keys() - new_weights.keys() or any("lora_" not in name for name in added):
        return True  # another architecture
    # A stage may save its weights in another precision than the student's; float16 converts to float32 exactly.
    if any(not torch.equal(old.cpu().float(), new_weights[name].cpu().float()) for name, old in old_weights.items()):
        return True
    return any(bool(new_weights[name].any()) for name in added if "lora_B" in name)  # zero before the first step


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights by name; the base weights of an adapter have the names that they have without one."""
    state = model.state_dict()
    return {name.removeprefix("base_model.model.").replace(".base_layer.", "."): value for name, value in state.items()}
