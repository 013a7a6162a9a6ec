"""The HTML page of a compile: its stages, scores, bias, curves and sampled answers, read from the run directory.

The page can be written while the compile runs, and again afterwards.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from gmner.data.files.atomic import whole_text
from gmner.data.pages.answers_page import render_page
from gmner.data.scoring.evaluation import percent
from gmner.optimizers.curves import LOGGED, draw_curves
from gmner.optimizers.reward_set import describe_weights
from gmner.optimizers.rewards.staged_calls import call_title
from gmner.optimizers.training.checkpoints import last_checkpoint, trainer_state
from gmner.optimizers.training.rollouts import PAGE, Rollout, kept_rollouts, read_rollouts
from gmner.signatures.errors import InputError

RUN_PAGE = "run.html"
_TITLES = {"before": "before", "mrsi": "after MRSI", "cvo": "after CVO"}
_INJECTED = {"loss": "loss", "mean_token_accuracy": "token accuracy"}
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
class RunStage:
    """The state of a stage of a compile.

    Attributes:
        name: `MRSI` or `CVO`.
        state: `done`, `running or stopped` (the folder does not tell which) or `not started`.
        progress: The number of steps so far, as text.
        curves: SVG of its figures by step; empty if there are none yet.
    """

    name: str
    state: str
    progress: str
    curves: Markup


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled answer of CVO: its step and post, its rewards, and its text."""

    title: str
    rewards: str
    text: str


def write_run_page(run_dir: str | Path, output: str | Path | None = None) -> Path:
    """Write the page of a run.

    Args:
        run_dir: The run directory of a compile that is running, stopped or done.
        output: The HTML file. None: `run.html` in the run directory.

    Returns:
        The path of the page. It is a single file that loads nothing else, and links to `cvo/rollouts.html` of the run
        directory if that exists.

    Raises:
        InputError: The folder is not the run directory of a compile.
    """
    folder = Path(run_dir)
    path = folder / RUN_PAGE if output is None else Path(output)
    page = render_run(folder, path)
    with whole_text(path) as file:
        file.write(page)
    return path


def is_run_page(page: Path, run_dir: Path) -> bool:
    """Whether a file is an earlier page of this run."""
    with page.open("rb") as file:
        return f"<title>{escape(_title(run_dir))}</title>".encode() in file.read(4096)


def _title(folder: Path) -> str:
    return f"Compile: {folder.resolve().name}"


def render_run(folder: Path, page: Path | None = None) -> str:
    """The page of a run as HTML; see `write_run_page`.

    Args:
        folder: The run directory.
        page: The path of the page, for its links to files of the run. None: in the run directory.
    """
    config = _read(folder / "config.json") if (folder / "config.json").is_file() else {}
    if not {"model", "train"} <= set(config):
        raise InputError(
            "Not the run directory of a compile", received=str(folder), accepted="the run_dir of a compile"
        )
    stages = [_injection(folder / "mrsi"), _optimization(folder / "cvo")]
    wanted = [stage for stage in stages if config.get(stage.name.lower()) is not None]
    scores = {
        title: _read(folder / f"scores-{name}.json")
        for name, title in _TITLES.items()
        if (folder / f"scores-{name}.json").is_file()
    }
    result = _read(folder / "result.json") if (folder / "result.json").is_file() else {}
    chosen = result.get("chosen")
    return render_page(
        "run.html.j2",
        title=_title(folder),
        unchanged=result.get("unchanged", ""),
        fallen=list(result.get("fallen", {}).values()),
        facts=_facts(folder, config, chosen, result.get("way", "")),
        stages=wanted,
        columns=list(scores),
        tables=[("Scores on the validation set", _score_rows(scores)), ("GMNER F1 by slice", _slice_rows(scores))],
        samples=_samples(folder / "cvo"),
        rollouts=_link(folder / "cvo" / PAGE, folder if page is None else page.parent),
        settings=json.dumps({k: v for k, v in config.items() if k not in ("train", "val")}, indent=1),
    )


def _link(file: Path, start: Path) -> str:
    """The relative URL of a file for a page in the folder `start`; empty if the file does not exist."""
    return quote(Path(os.path.relpath(file.resolve(), start.resolve())).as_posix()) if file.is_file() else ""


def _facts(folder: Path, config: Mapping[str, Any], chosen: str | None, way: str) -> list[tuple[str, str]]:
    facts = [("model", str(config["model"])), ("training posts", f"{len(config['train']):,}")]
    if config.get("val"):
        facts.append(("validation posts", f"{len(config['val']):,}"))
    if (folder / "chains" / "chains.jsonl").is_file():
        lines = (folder / "chains" / "chains.jsonl").read_text(encoding="utf-8").splitlines()
        styles = Counter(json.loads(line)["style"] for line in lines)
        facts.append(("chains", ", ".join(f"{name} {count:,}" for name, count in styles.most_common())))
    if (config.get("cvo") or {}).get("weights"):
        facts.append(("rewards", describe_weights(config["cvo"]["weights"])))
    if way:
        facts.append(("method", way))
    facts.append(("result", "none yet" if chosen is None else f"the program {_TITLES[chosen]}"))
    return facts


def _injection(folder: Path) -> RunStage:
    log, planned = _log(folder)
    return _stage("MRSI", folder, planned, {t: _curve(log, key) for key, t in _INJECTED.items()})


def _optimization(folder: Path) -> RunStage:
    log, planned = _log(folder)
    curves = {title: _curve(log, key) for key, title in LOGGED.items()}
    if kept_rollouts(folder):  # written after every step, but the log only with each checkpoint
        curves |= {f"reward {name}": steps for name, steps in _mean_rewards(read_rollouts(folder)).items()}
    return _stage("CVO", folder, planned, curves)


def _stage(name: str, folder: Path, planned: int | None, curves: Mapping[str, Mapping[int, float]]) -> RunStage:
    done, checkpoint = (folder / "done.json").is_file(), last_checkpoint(folder)
    started = any(curves.values()) or checkpoint is not None
    state = "done" if done else ("running or stopped" if started else "not started")
    step = max((step for curve in curves.values() for step in curve), default=0)
    step = max(step, 0 if checkpoint is None else int(checkpoint.name.rsplit("-", 1)[1]))
    progress = f"{step:,} steps" if planned is None or done else f"{step:,} of {planned:,} steps"
    drawn = {title: curve for title, curve in curves.items() if len(curve) > 1}
    return RunStage(
        name, state, progress if started or done else "", Markup(draw_curves(drawn, columns=4) if drawn else "")
    )


def _log(folder: Path) -> tuple[list[dict[str, Any]], int | None]:
    """TRL's log of a finished stage, or of its last checkpoint; and the planned number of steps."""
    newest = last_checkpoint(folder)
    # A running compile may have deleted the checkpoint in the meantime.
    state = (None if newest is None else trainer_state(newest)) or {}
    log = _read(folder / "done.json")["log"] if (folder / "done.json").is_file() else state.get("log_history", [])
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
            title = f"step {step}, {post}{f', {call_title(call)}' if call else ''}"
            samples += [_sample(f"{title}: best", ranked[0]), _sample(f"{title}: worst", ranked[-1])]
    return samples


def _sample(title: str, rollout: Rollout) -> Sample:
    rewards = ", ".join(f"{name} {'-' if v is None else f'{v:.2f}'}" for name, v in rollout.rewards.items())
    return Sample(title, f"{rewards}; advantage {rollout.advantage:+.2f}", rollout.text)


def _score_rows(scores: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(name, [_cell(stage, keys) for stage in scores.values()]) for name, keys in _SCORES.items()]


def _slice_rows(scores: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    slices = sorted({name for stage in scores.values() for name in stage.get("by_slice", {})})
    return [(name, [_cell(stage, ("by_slice", name, "gmner", "f1")) for stage in scores.values()]) for name in slices]


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
