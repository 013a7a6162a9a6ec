"""`gmner quickstart`: watch MCR take the modality bias out of the embedded model, on the world, in minutes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gmner.data.evaluate import Evaluation, evaluate
from gmner.data.view import render_html
from gmner.data.world.generate import World
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.gmner import GMNER
from gmner.programs.loading import load_vlm

STAGES = {"before": "before", "mrsi": "after MRSI", "cvo": "after CVO"}
TRAIN_POSTS, TEST_POSTS = 640, 120


def optimizer() -> MCR:
    """MCR at the size of the embedded model and of five minutes."""
    mrsi = MRSI(max_steps=110, batch=16, rate=6e-4)
    cvo = CVO(max_steps=24, prompts=6, generations=8, max_completion_length=220, rate=1e-4)
    return MCR(mrsi=mrsi, cvo=cvo)


def main(run_dir: str | Path = "runs/quickstart") -> Path:
    """Compile the embedded program on the world and write a report.

    Args:
        run_dir: Folder of the run; a stopped quickstart goes on there.

    Returns:
        The path of the HTML report, on held-out posts: scores and bias before, after MRSI and after CVO, and pictures.
    """
    folder = Path(run_dir)
    world = World()
    train, test = world.posts("train", TRAIN_POSTS), world.posts("test", TEST_POSTS)
    program = GMNER(lm=load_vlm(max_batch=32, cache=False))
    _say(f"MCR on the embedded model: {len(train)} posts to learn from, {len(test)} held-out posts to be judged on.")
    compiled = program.compile(trainset=train, optimizer=optimizer(), run_dir=folder)
    predictions, scores = {}, {}
    for stage, title in STAGES.items():
        predictions[title] = compiled.history.programs[stage].batch_posts(test, threads=64)
        scores[title] = evaluate(predictions[title], test)
    _say(table(scores))
    report = folder / "report.html"
    pairs = [
        (post, {title: answers[place] for title, answers in predictions.items()})
        for place, post in enumerate(test[:REPORT_POSTS])
    ]
    write_text(report, render_html(pairs, title="MCR on the world", scores=scores))
    _say(f"Pictures, answers and errors: {report.resolve()}")
    return report


def table(scores: dict[str, Evaluation]) -> str:
    """Scores and bias figures of the stages side by side, in percent where they are shares."""
    rows: dict[str, Callable[[Evaluation], float]] = {
        "GMNER F1": lambda e: e.gmner.f1,
        "MNER F1": lambda e: e.mner.f1,
        "EEG F1": lambda e: e.eeg.f1,
    }
    lines = ["".join(["figure".ljust(34), *(title.rjust(12) for title in scores)])]
    lines += ["".join([name.ljust(34), *(f"{get(e):12.1f}" for e in scores.values())]) for name, get in rows.items()]
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
