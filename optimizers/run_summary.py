"""`RunSummary`: what a run directory tells about its compile, finished or not: stages, scores, curves, samples."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmner.data.scoring.evaluation import percent
from gmner.optimizers.curves import LOGGED, Curve
from gmner.optimizers.reward_set import describe_weights
from gmner.optimizers.rewards.staged_calls import call_title
from gmner.optimizers.training.checkpoints import last_checkpoint, trainer_state
from gmner.optimizers.training.rollouts import Rollout, kept_rollouts, read_rollouts
from gmner.signatures.errors import InputError

TITLES = {"before": "before", "mrsi": "after MRSI", "cvo": "after CVO"}
"""What the program of each stage is called in reports."""

_INJECTED = {"loss": "loss", "mean_token_accuracy": "token accuracy"}
_VALIDATED = {f"eval_{task}_f1": f"{task.upper()} F1 on the validation set" for task in ("gmner", "mner", "eeg")}
_SCORES: Mapping[str, Sequence[str]] = {
    "GMNER F1": ("gmner", "f1"),
    "MNER F1": ("mner", "f1"),
    "EEG F1": ("eeg", "f1"),
    "boxed correctly if shown, %": ("found_of_shown",),
    "boxed if not shown, %": ("boxed_of_absent",),
    "textual bias: N-F1": ("bias", "n_f1"),
    "textual bias: grounded absent": ("bias", "grounded_absent"),
    "visual bias: N-Rate, %": ("bias", "n_rate"),
}


@dataclass(frozen=True, slots=True)
class StageSummary:
    """The state of a stage of a compile.

    Attributes:
        name: `MRSI` or `CVO`.
        state: `done`, `running or stopped` (the folder does not tell which) or `not started`.
        progress: The number of steps so far, as text.
        curves: Title -> its figures by step.
    """

    name: str
    state: str
    progress: str
    curves: Mapping[str, Curve]


@dataclass(frozen=True, slots=True)
class StageScores:
    """The scores of a stage's program on the validation set, as text by name; and GMNER F1 by slice."""

    figures: dict[str, str]
    by_slice: dict[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled answer of CVO: its step and post, its rewards, and its text."""

    title: str
    rewards: str
    text: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run directory tells about its compile.

    Attributes:
        alerts: Sentences that a user must see: the program is unchanged, or a stage fell below the one before it.
        facts: Name -> value.
        stages: The stages of the compile in order.
        scores: Stage, such as `after MRSI` -> its scores.
        samples: The best and the worst answer to each prompt of the first and of the last step of CVO.
        settings: All settings as JSON.
        setting_rows: Each setting by its path, such as `cvo.rate`, as text.
        finished: Whether the compile has a result.
    """

    alerts: Sequence[str]
    facts: dict[str, str]
    stages: Sequence[StageSummary]
    scores: Mapping[str, StageScores]
    samples: Sequence[Sample]
    settings: str
    setting_rows: dict[str, str]
    finished: bool


def read_run(folder: Path) -> RunSummary:
    """Read the run directory of a compile that is running, stopped or done.

    Raises:
        InputError: The folder is not the run directory of a compile.
    """
    config = _read(folder / "config.json") if (folder / "config.json").is_file() else {}
    if not isinstance(config.get("model"), str) or not isinstance(config.get("train"), list):
        fact = "Not the run directory of a compile" if folder.exists() else "Run directory not found"
        raise InputError(fact, received=str(folder), accepted="the run_dir of a compile")
    stages = [_injection(folder / "mrsi"), _optimization(folder / "cvo")]
    result = _read(folder / "result.json") if (folder / "result.json").is_file() else {}
    scores = {
        title: _scores(_read(folder / f"scores-{name}.json"))
        for name, title in TITLES.items()
        if (folder / f"scores-{name}.json").is_file()
    }
    unchanged = [f"The compile did not change the program: {why}" for why in [result.get("unchanged")] if why]
    settings = {key: value for key, value in config.items() if key not in ("train", "val")}
    return RunSummary(
        alerts=[*unchanged, *result.get("fallen", {}).values()],
        facts=_facts(folder, config, result.get("chosen"), result.get("way", "")),
        stages=[stage for stage in stages if config.get(stage.name.lower()) is not None],
        scores=scores,
        samples=_samples(folder / "cvo"),
        settings=json.dumps(settings, indent=1),
        setting_rows=dict(_setting_rows(settings)),
        finished=bool(result),
    )


def _setting_rows(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _setting_rows(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", json.dumps(value)


def _facts(folder: Path, config: Mapping[str, Any], chosen: str | None, way: str) -> dict[str, str]:
    facts = {"model": str(config["model"]), "training posts": f"{len(config['train']):,}"}
    if config.get("val"):
        facts["validation posts"] = f"{len(config['val']):,}"
    if (folder / "chains" / "chains.jsonl").is_file():
        lines = (folder / "chains" / "chains.jsonl").read_text(encoding="utf-8").splitlines()
        styles = Counter(json.loads(line)["style"] for line in lines)
        facts["chains"] = ", ".join(f"{name} {count:,}" for name, count in styles.most_common())
    if (config.get("cvo") or {}).get("weights"):
        facts["rewards"] = describe_weights(config["cvo"]["weights"])
    if way:
        facts["method"] = way
    facts["result"] = "none yet" if chosen is None else f"the program {TITLES[chosen]}"
    return facts


def _injection(folder: Path) -> StageSummary:
    log, planned = _log(folder)
    return _stage("MRSI", folder, planned, {t: _curve(log, key) for key, t in (_INJECTED | _VALIDATED).items()})


def _optimization(folder: Path) -> StageSummary:
    log, planned = _log(folder)
    curves = {title: _curve(log, key) for key, title in (LOGGED | _VALIDATED).items()}
    if kept_rollouts(folder):  # written after every step, but the log only with each checkpoint
        curves |= {f"reward {name}": steps for name, steps in _mean_rewards(read_rollouts(folder)).items()}
    return _stage("CVO", folder, planned, curves)


def _stage(name: str, folder: Path, planned: int | None, curves: Mapping[str, Curve]) -> StageSummary:
    done, checkpoint = (folder / "done.json").is_file(), last_checkpoint(folder)
    started = any(curves.values()) or checkpoint is not None
    state = "done" if done else ("running or stopped" if started else "not started")
    step = max((step for curve in curves.values() for step in curve), default=0)
    step = max(step, 0 if checkpoint is None else int(checkpoint.name.rsplit("-", 1)[1]))
    progress = (
        f"{step:,} {'step' if step == 1 else 'steps'}" if planned is None or done else f"{step:,} of {planned:,} steps"
    )
    return StageSummary(name, state, progress if started or done else "", curves)


def _log(folder: Path) -> tuple[list[dict[str, Any]], int | None]:
    """TRL's log of a finished stage, or of its last checkpoint; and the planned number of steps."""
    newest = last_checkpoint(folder)
    # A running compile may have deleted the checkpoint in the meantime.
    state = (None if newest is None else trainer_state(newest)) or {}
    done = folder / "done.json"
    log = _read(done).get("log", []) if done.is_file() else state.get("log_history", [])
    return log, state.get("max_steps")


def _curve(log: Sequence[Mapping[str, Any]], key: str) -> dict[int, float]:
    return {e["step"]: e[key] for e in log if isinstance(e.get(key), (int, float)) and math.isfinite(e[key])}


def _mean_rewards(rollouts: Sequence[Rollout]) -> dict[str, dict[int, float]]:
    """Reward name -> step -> mean reward of the answers that it applied to."""
    values: dict[str, dict[int, list[float]]] = {}
    for rollout in rollouts:
        for name, value in rollout.rewards.items():
            steps = values.setdefault(name, {})
            if value is not None:
                steps.setdefault(rollout.step, []).append(value)
    return {name: {step: sum(v) / len(v) for step, v in sorted(steps.items())} for name, steps in values.items()}


def _samples(folder: Path) -> list[Sample]:
    """The best and the worst answer to each prompt of the first and of the last step."""
    if not kept_rollouts(folder):
        return []
    groups: dict[tuple[int, str, str], list[Rollout]] = {}
    for rollout in read_rollouts(folder):
        groups.setdefault((rollout.step, rollout.post_id, rollout.call), []).append(rollout)
    steps = [step for step, _, _ in groups] or [0]
    samples = []
    for (step, post, call), group in groups.items():
        if step in (min(steps), max(steps)):
            ranked = sorted(group, key=lambda rollout: rollout.rank)
            title = f"step {step}, post {post}{f', {call_title(call)}' if call else ''}"
            samples += [_sample(f"{title}: best", ranked[0]), _sample(f"{title}: worst", ranked[-1])]
    return samples


def _sample(title: str, rollout: Rollout) -> Sample:
    return Sample(title, rollout.rewards_text, rollout.text)


def _scores(scores: Mapping[str, Any]) -> StageScores:
    slices = sorted(scores.get("by_slice", {}))
    return StageScores(
        {name: _cell(scores, keys) for name, keys in _SCORES.items()},
        {_slice_name(scores, name): _cell(scores, ("by_slice", name, "gmner", "f1")) for name in slices},
    )


def _slice_name(scores: Mapping[str, Any], name: str) -> str:
    """The name of a slice with its number of posts, which runs of earlier versions lack."""
    posts = scores["by_slice"][name].get("posts")
    return name if posts is None else f"{name} ({posts:,})"


def _cell(scores: Any, keys: Sequence[str]) -> str:
    """The figure at a path of keys, as the text of a table cell."""
    value = scores
    for key in keys:
        value = None if value is None else value.get(key)
    return str(value) if isinstance(value, int) else percent(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        remedy = f"Restore or delete the file: {error}"
        raise InputError(f"{path} of the run is not JSON", remedy=remedy) from error
    if not isinstance(data, dict):
        raise InputError(f"{path} of the run is not a JSON object", received=data)
    return data
