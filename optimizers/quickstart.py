"""`gmner quickstart`: compile the embedded model with MCR and report its modality bias before and after."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from gmner.data.files.atomic import whole_text
from gmner.data.pages.answers_page import render_html
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation, percent
from gmner.data.world.generate import World
from gmner.optimizers.presets import preset
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.terminal import printable

STAGES = {"before": "before", "mrsi": "after MRSI", "cvo": "after CVO"}
TRAIN_POSTS, TEST_POSTS = 1000, 120


def main(run_dir: str | Path = "runs/quickstart") -> Path:
    """Compile the embedded model on its synthetic world and write a report.

    Args:
        run_dir: Folder of the run. A stopped quickstart resumes from it.

    Returns:
        The path of the HTML report on held-out posts: predictions, scores and bias before MRSI, after MRSI and after
        CVO.
    """
    folder = Path(run_dir)
    world = World()
    train, test = world.posts("train", TRAIN_POSTS), world.posts("test", TEST_POSTS)
    program = GMNER(lm=load_vlm(max_batch=32, cache=False))
    _say(f"MCR on the embedded model: {len(train)} training posts, {len(test)} held-out test posts.")
    compiled = program.compile(trainset=train, optimizer=preset("tiny"), run_dir=folder)
    predictions, scores = {}, {}
    for stage, title in STAGES.items():
        answering = compiled.history.programs[stage]
        answering.confidence = True
        predictions[title] = answering.batch_posts(test)
        scores[title] = evaluate(predictions[title], test)
    _say(table(scores))
    pairs = [
        (post, {title: answers[place] for title, answers in predictions.items()}) for place, post in enumerate(test)
    ]
    report = folder / "report.html"
    with whole_text(report) as file:
        file.write(render_html(pairs, title="MCR on the world", scores=scores))
    compiled.save(folder / "program", scores=scores["after CVO"].to_dict())
    _say(f"\nCompiled program: {folder / 'program'}\nReport with images, predictions and errors: {report.resolve()}")
    return report


_FIGURES: dict[str, Callable[[Evaluation], float | int | None]] = {
    "GMNER F1": lambda e: e.gmner.f1,
    "MNER F1": lambda e: e.mner.f1,
    "EEG F1": lambda e: e.eeg.f1,
    "boxed correctly if shown, %": lambda e: e.found_of_shown,
    "boxed if not shown, %": lambda e: e.boxed_of_absent,
    "textual bias: N-F1": lambda e: e.bias.n_f1,
    "textual bias: grounded absent": lambda e: e.bias.grounded_absent,
    "  of these on lookalike posts": lambda e: e.by_slice["lookalike"].bias.grounded_absent,
    "visual bias: N-Rate, %": lambda e: e.bias.n_rate,
}
_LABEL_WIDTH = 32


def table(scores: dict[str, Evaluation]) -> str:
    """A table of the scores and bias figures of all stages.

    Args:
        scores: Stage title -> its evaluation on posts of the world.
    """
    lines = ["".join(["\n" + " " * _LABEL_WIDTH, *(title.rjust(12) for title in scores)])]
    for name, figure in _FIGURES.items():
        values = [figure(evaluation) for evaluation in scores.values()]
        cells = [str(v) if isinstance(v, int) else percent(v) for v in values]
        lines.append("".join([name.ljust(_LABEL_WIDTH), *(cell.rjust(12) for cell in cells)]))
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()
