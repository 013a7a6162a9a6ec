"""Reward functions for TRL that check what the rewards return; an error names the reward, the step and the posts."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gmner.data.files.atomic import whole_text
from gmner.optimizers.reward_set import RewardSet
from gmner.optimizers.rewards import DEFAULT_WEIGHTS
from gmner.optimizers.rewards.own import RewardFunction, described, is_async
from gmner.optimizers.run_directory import RunDirectory
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError, RewardError
from gmner.signatures.labels import LabelSet

LOG = logging.getLogger(__name__)
FAILURE = "failed-reward.json"
WEIGHTS = "rewards.json"
_NAMED = 8  # posts that an error names


def checked_rewards(rewards: RewardSet, labels: LabelSet, box_format: BoxFormat, folder: Path) -> list[RewardFunction]:
    """Reward functions for `GRPOTrainer`, in the order of the set.

    Each is called as TRL calls it, with the columns of the rows, and also with the program's `labels` and `box_format`,
    which `judgements` and `whole_answers` read.

    Args:
        rewards: The rewards, see `RewardSet.of`.
        labels: The entity types of the program.
        box_format: The coordinate convention of its model.
        folder: The stage's folder. `rewards.json` has the weights by name, `failed-reward.json` the last failure.

    Returns:
        Functions that raise `RewardError` if a reward raises, or returns anything but one finite number or None per
        completion.
    """
    (folder / FAILURE).unlink(missing_ok=True)
    with whole_text(folder / WEIGHTS) as file:
        file.write(json.dumps(dict(rewards.weights), indent=2) + "\n")
    columns = {"labels": labels, "box_format": box_format}
    functions = rewards.bound(labels, box_format).functions
    return [_checked(name, reward, columns, folder) for name, reward in functions.items()]


def kept_weights(folder: Path) -> dict[str, float]:
    """The weights by name that the rollouts in a stage's folder were rewarded with.

    Raises:
        InputError: The file with the weights was damaged.
    """
    file = folder / WEIGHTS
    if not file.is_file():  # runs of versions that did not write it used the five default rewards
        return dict(DEFAULT_WEIGHTS)
    try:
        weights = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} of the run is not JSON", remedy=f"Restore or delete the file: {error}") from error
    if not isinstance(weights, dict):
        raise InputError(f"{file} of the run is not a JSON object", received=weights)
    return weights


def own_rewards(rewards: RewardSet) -> dict[str, Any]:
    """The arguments of a run that identify its custom rewards: `reward.<name>` -> `reward_record`."""
    return {f"reward.{name}": record for name, record in rewards.own.items()}


def failed_key(run_dir: Path) -> list[str]:
    """The argument (see `own_rewards`) of the reward that stopped a run and may be corrected; usually none."""
    try:
        return [f"reward.{json.loads((run_dir / 'cvo' / FAILURE).read_text(encoding='utf-8'))['reward']}"]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def accept_corrected(run: RunDirectory) -> None:
    """Resume a run with the corrected version of the reward that stopped it."""
    corrected = [name.removeprefix("reward.") for name in run.renewed if name.startswith("reward.")]
    if corrected:
        LOG.warning(
            "The reward %s stopped the run in %s and has changed since then: training resumes from the last checkpoint "
            "with the new version",
            corrected[0],
            run.path,
        )
        run.accept()


def _checked(name: str, reward: RewardFunction, more: Mapping[str, Any], folder: Path) -> RewardFunction:
    def scored(completions: Sequence[Any], columns: Mapping[str, Any]) -> Any:
        return reward(completions=completions, **columns, **more)

    def failed(error: Exception, columns: Mapping[str, Any]) -> RewardError:
        failure = _failure(name, error, columns)
        with whole_text(folder / FAILURE) as file:
            file.write(json.dumps({"reward": name, "error": str(failure)}, indent=2) + "\n")
        return failure

    def checked(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        try:
            return _scores(name, scored(completions, columns), len(completions))
        except Exception as error:
            raise failed(error, columns) from _cause(error)

    async def awaited(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        try:
            return _scores(name, await scored(completions, columns), len(completions))
        except Exception as error:
            raise failed(error, columns) from _cause(error)

    function: Any = awaited if is_async(reward) else checked
    function.__name__ = name
    return function


def _scores(name: str, returned: Any, count: int) -> list[float | None]:
    """Check and convert what a reward returned: one float or None per completion."""
    if isinstance(returned, (str, bytes, Mapping)) or not hasattr(returned, "__iter__"):
        raise RewardError(
            f"The reward {name!r} did not return a list", received=returned, accepted=f"a list of {count}"
        )
    scores = [_score(name, row, value) for row, value in enumerate(returned)]
    if len(scores) != count:
        raise RewardError(
            f"The reward {name!r} returned {len(scores)} scores for {count} completions", accepted="one per completion"
        )
    return scores


def _score(name: str, row: int, value: Any) -> float | None:
    if value is None:
        return None
    accepted = "a finite number, or None where the reward does not apply"
    try:
        score = math.nan if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise RewardError(f"The reward {name!r} returned {value!r}", row=row, accepted=accepted)
    return score


def _cause(error: Exception) -> BaseException | None:
    return error.__cause__ if isinstance(error, RewardError) else error


def _failure(name: str, error: Exception, columns: Mapping[str, Any]) -> RewardError:
    """The error of a reward, with the step and the posts that it concerns."""
    known = error if isinstance(error, RewardError) else RewardError(f"The reward {name!r} raised {described(error)}")
    posts = list(dict.fromkeys(columns["post"])) if known.row is None else [columns["post"][known.row]]
    more = f" and {len(posts) - _NAMED} more" if len(posts) > _NAMED else ""
    which = f"post{'s' if len(posts) > 1 else ''} {', '.join(map(str, posts[:_NAMED]))}{more}"
    return RewardError(
        f"{known.fact} (step {columns['trainer_state'].global_step + 1}, {which})",
        row=known.row,
        received=known.received,
        accepted=known.accepted,
        remedy="Correct the reward, then run the same compile with the same run_dir to resume",
    )
