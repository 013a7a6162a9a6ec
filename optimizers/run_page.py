"""The page of a compile: its stages, scores and bias by stage, curves and sampled answers, from the run directory.

It reads what a compile writes as it goes, so it can be made while one runs, and again afterwards.
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
from gmner.optimizers.reward_set import told_weights
from gmner.optimizers.rewards.staged_calls import call_title
from gmner.optimizers.training.checkpoints import last_checkpoint, trainer_state
from gmner.optimizers.training.rollouts import PAGE, Rollout, kept_rollouts, read_rollouts
from gmner.signatures.errors import InputError

RUN_PAGE = "run.html"
_TITLES = {"before": "before", "mrsi": "after MRSI", "cvo": "after CVO"}
_INJECTED = {"loss": "loss", "mean_token_accuracy": "accuracy of tokens"}
_SCORES: Mapping[str, Sequence[str]] = {
    "GMNER F1": ("gmner", "f1"),
    "MNER F1": ("mner", "f1"),
    "EEG F1": ("eeg", "f1"),
    "found of shown, %": ("found_of_shown",),
    "boxed of absent, %": ("boxed_of_absent",),
    "textual bias: N-F1": ("bias", "n_f1"),
    "textual bias: grounded absent": ("bias", "grounded_absent"),
    "visual bias: N-Rate, %": ("bias", "n_rate"),
}


@dataclass(frozen=True, slots=True)
class RunStage:
    """A stage of a compile, as far as it came.

    Attributes:
        name: `MRSI` or `CVO`.
        state: `done`, `under way` (or stopped: a folder does not say) or `not begun`.
        progress: How far it came, in words.
        curves: SVG of its figures by step; empty: there are none yet.
    """

    name: str
    state: str
    progress: str
    curves: Markup


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled answer of CVO: where it belongs, what it was paid, and its text."""

    title: str
    paid: str
    text: str


def write_run_page(run_dir: str | Path, output: str | Path | None = None) -> Path:
    """Write the page of a run.

    Args:
        run_dir: The run directory of a compile that runs, was stopped or is done.
        output: The HTML file; None: `run.html` in the run directory.

    Returns:
        The path of the page. It is one file, loads nothing, and links to `cvo/rollouts.html` of the run directory where
        that is.

    Raises:
        InputError: No compile has begun in this folder.
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
        page: Where the page will lie, from which it links to the files of the run; None: in the run directory.
    """
    config = _read(folder / "config.json") if (folder / "config.json").is_file() else {}
    if not {"model", "train"} <= set(config):
        raise InputError("No compile has begun here", received=str(folder), accepted="the run_dir of a compile")
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
        tables=[("Scores on the valset", _score_rows(scores)), ("GMNER F1 by slice", _slice_rows(scores))],
        samples=_samples(folder / "cvo"),
        rollouts=_link(folder / "cvo" / PAGE, folder if page is None else page.parent),
        settings=json.dumps({k: v for k, v in config.items() if k not in ("train", "val")}, indent=1),
    )


def _link(file: Path, start: Path) -> str:
    """The address of a file for a page in the folder `start`; empty where there is no such file."""
    return quote(Path(os.path.relpath(file.resolve(), start.resolve())).as_posix()) if file.is_file() else ""


def _facts(folder: Path, config: Mapping[str, Any], chosen: str | None, way: str) -> list[tuple[str, str]]:
    facts = [("model", str(config["model"])), ("posts to train on", f"{len(config['train']):,}")]
    if config.get("val"):
        facts.append(("posts of the valset", f"{len(config['val']):,}"))
    if (folder / "chains" / "chains.jsonl").is_file():
        lines = (folder / "chains" / "chains.jsonl").read_text(encoding="utf-8").splitlines()
        styles = Counter(json.loads(line)["style"] for line in lines)
        facts.append(("chains", ", ".join(f"{name} {count:,}" for name, count in styles.most_common())))
    if (config.get("cvo") or {}).get("weights"):
        facts.append(("rewards", told_weights(config["cvo"]["weights"])))
    if way:
        facts.append(("way", way))
    facts.append(("result", "none yet" if chosen is None else f"the program {_TITLES[chosen]}"))
    return facts


def _injection(folder: Path) -> RunStage:
    log, planned = _log(folder)
    return _stage("MRSI", folder, planned, {t: _curve(log, key) for key, t in _INJECTED.items()})


def _optimization(folder: Path) -> RunStage:
    log, planned = _log(folder)
    curves = {title: _curve(log, key) for key, title in LOGGED.items()}
    if kept_rollouts(folder):  # these are there after every step, the log after every checkpoint
        curves |= {f"reward {name}": steps for name, steps in _paid_by_step(read_rollouts(folder)).items()}
    return _stage("CVO", folder, planned, curves)


def _stage(name: str, folder: Path, planned: int | None, curves: Mapping[str, Mapping[int, float]]) -> RunStage:
    done, begun = (folder / "done.json").is_file(), any(curves.values()) or last_checkpoint(folder) is not None
    state = "done" if done else ("under way" if begun else "not begun")
    step = max((step for curve in curves.values() for step in curve), default=0)
    known = last_checkpoint(folder)
    step = max(step, 0 if known is None else int(known.name.rsplit("-", 1)[1]))
    progress = f"{step:,} steps" if planned is None or done else f"{step:,} of {planned:,} steps"
    drawn = {title: curve for title, curve in curves.items() if len(curve) > 1}
    return RunStage(
        name, state, progress if begun or done else "", Markup(draw_curves(drawn, columns=4) if drawn else "")
    )


def _log(folder: Path) -> tuple[list[dict[str, Any]], int | None]:
    """TRL's log of a stage, whole when it is done, else that of its last checkpoint; and how many steps it makes."""
    newest = last_checkpoint(folder)
    # A run under way may have removed it meanwhile.
    state = (None if newest is None else trainer_state(newest)) or {}
    log = _read(folder / "done.json")["log"] if (folder / "done.json").is_file() else state.get("log_history", [])
    return log, state.get("max_steps")


def _curve(log: Sequence[Mapping[str, Any]], key: str) -> dict[int, float]:
    return {e["step"]: e[key] for e in log if isinstance(e.get(key), (int, float)) and math.isfinite(e[key])}


def _paid_by_step(rollouts: Sequence[Rollout]) -> dict[str, dict[int, float]]:
    """Reward name -> step -> the mean of what it paid, where it applied."""
    paid: dict[str, dict[int, list[float]]] = {}
    for rollout in rollouts:
        for name, value in rollout.rewards.items():
            steps = paid.setdefault(name, {})
            if value is not None:
                steps.setdefault(rollout.step, []).append(value)
    return {name: {step: sum(v) / len(v) for step, v in sorted(steps.items())} for name, steps in paid.items()}


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
            asked = f"step {step}, {post}{f', {call_title(call)}' if call else ''}"
            samples += [_sample(f"{asked}: best", ranked[0]), _sample(f"{asked}: worst", ranked[-1])]
    return samples


def _sample(title: str, rollout: Rollout) -> Sample:
    paid = ", ".join(f"{name} {'-' if v is None else f'{v:.2f}'}" for name, v in rollout.rewards.items())
    return Sample(title, f"{paid}; advantage {rollout.advantage:+.2f}", rollout.text)


def _score_rows(scores: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(name, [_shown(found, keys) for found in scores.values()]) for name, keys in _SCORES.items()]


def _slice_rows(scores: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    names = sorted({name for found in scores.values() for name in found.get("by_slice", {})})
    return [(name, [_shown(found, ("by_slice", name, "gmner", "f1")) for found in scores.values()]) for name in names]


def _shown(found: Any, keys: Sequence[str]) -> str:
    for key in keys:
        found = None if found is None else found.get(key)
    return str(found) if isinstance(found, int) else percent(found)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        remedy = f"Something else has changed it, restore or delete it: {error}"
        raise InputError(f"{path} of the run is not JSON", remedy=remedy) from error
    if not isinstance(data, dict):
        raise InputError(f"{path} of the run is not a JSON object", received=data)
    return data
