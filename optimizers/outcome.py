"""Which stage's program a compile returns, and whether that is another one than the program it began with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch

from gmner.data.scoring.evaluation import Evaluation
from gmner.optimizers.training import trainable as training
from gmner.programs.trainable import Trainable


class UnchangedProgramWarning(UserWarning):
    """A compile returned the program it began with."""


def figure(scores: Evaluation) -> float:
    """What stages are compared by: GMNER F1, or MNER F1 on posts whose regions are not annotated."""
    return scores.gmner.f1 if scores.grounded else scores.mner.f1


def best_stage(scores: Mapping[str, Evaluation], last: str) -> str:
    """The stage with the highest `figure`; the first of equals. NaN is never chosen.

    Args:
        scores: Stage -> its scores, in order.
        last: The stage that is chosen where no stage has a score.
    """
    known = {name: value for name, found in scores.items() if not math.isnan(value := figure(found))}
    return max(known, key=lambda name: known[name]) if known else last


def fallen(scores: Mapping[str, Evaluation]) -> dict[str, str]:
    """Stages that scored below the stage before them: stage -> that, in words.

    Args:
        scores: Stage -> its scores, in order.
    """
    found = {}
    for (earlier, old), (stage, new) in pairwise(scores.items()):
        if figure(new) < figure(old):
            name = "GMNER F1" if new.grounded else "MNER F1"
            found[stage] = (
                f"{stage} scores {figure(new):.1f} {name} on the valset of {new.posts} posts, below the "
                f"{figure(old):.1f} of {earlier}"
            )
    return found


def why_unchanged(programs: Mapping[str, Trainable], chosen: str, *, scored: bool, stopped: bool) -> str:
    """Why the chosen program is the one that a compile began with; empty: it is another.

    Args:
        programs: Stage -> the program after it; `before` is the first.
        chosen: The stage that was chosen.
        scored: Whether it was chosen by scores on a valset.
        stopped: Whether the compile's time was over.
    """
    late = "; the time of the compile was over" if stopped else ""
    if chosen == "before":
        reason = "no stage scored higher on the valset" if scored and len(programs) > 1 else "no stage was run"
        return reason + late
    return "" if _differ(programs["before"], programs[chosen]) else f"no weight and no demonstration changed{late}"


def _differ(before: Trainable, after: Trainable) -> bool:
    """Whether two programs have other demonstrations or other weights."""
    if before.demonstrations != after.demonstrations:
        return True
    old, new = training.trainable_engine(before.model), training.trainable_engine(after.model)
    if old is None or new is None or old is new:
        return False
    was, now = _tensors(old.model), _tensors(new.model)
    added = now.keys() - was.keys()
    if was.keys() - now.keys() or any("lora_" not in name for name in added):
        return True  # other parts: another architecture
    # A stage may keep its weights in another precision than the student's: float16 fits into float32 exactly.
    if any(not torch.equal(value.cpu().float(), now[name].cpu().float()) for name, value in was.items()):
        return True
    return any(bool(now[name].any()) for name in added if "lora_B" in name)  # zero until its first step


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights by name; those below an adapter by the names that they have without one."""
    found = model.state_dict()
    return {name.removeprefix("base_model.model.").replace(".base_layer.", "."): value for name, value in found.items()}
