"""`score_report`: all scores of a prediction file, with one protocol or with all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.counts import types_of
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation, percent
from gmner.data.scoring.gold_version import GoldVersion
from gmner.data.scoring.pairing import Scores, TaskCounts
from gmner.data.scoring.protocols import ALL, PAPER, PROTOCOLS
from gmner.data.scoring.resampling import Comparison, compare
from gmner.data.scoring.scenarios import ScenarioScores, text_scenarios

_ROW = "{:<13} {:>7} {:>7} {:>7}  {}"


@dataclass(frozen=True)
class ScoreReport:
    """The scores of a prediction file.

    Attributes:
        evaluation: The evaluation with the selected protocol, or with `paper` if all are selected.
        protocols: Protocol -> task -> scores; empty if a single protocol is selected.
        scenarios: Scores of spans and types in the scenarios of nervaluate.
        comparison: The paired test against another system, or None.
        gold: The version of the gold annotation.
    """

    evaluation: Evaluation
    protocols: Mapping[str, Mapping[str, Scores]]
    scenarios: Mapping[str, ScenarioScores]
    comparison: Comparison | None
    gold: GoldVersion

    def to_dict(self) -> dict[str, Any]:
        """Convert the report to JSON data: evaluation, `gold`, `scenarios`; `protocols` and `comparison` if present."""
        record = {
            **self.evaluation.to_dict(),
            "gold": self.gold.to_dict(),
            "scenarios": {name: scores.to_dict() for name, scores in self.scenarios.items()},
        }
        if self.protocols:
            record["protocols"] = {
                name: {task: scores.to_dict() for task, scores in tasks.items()}
                for name, tasks in self.protocols.items()
            }
        if self.comparison is not None:
            record["comparison"] = self.comparison.to_dict()
        return record

    def summary(self) -> str:
        """Format the report as text for a terminal."""
        text = "  ".join(f"{name} {percent(scores.f1)}" for name, scores in self.scenarios.items())
        parts = [self.evaluation.summary(), f"gold  {self.gold}", f"text-only F1  {text}"]
        if self.protocols:
            parts.append(protocol_table(self.protocols))
        if self.comparison is not None:
            parts.append(repr(self.comparison))
        return "\n\n".join(parts)


def score_report(
    posts: Sequence[Post],
    answers: Iterable[Prediction],
    protocol: str = PAPER.name,
    against: Iterable[Prediction] | None = None,
) -> ScoreReport:
    """Score the predictions for annotated posts.

    Args:
        posts: Annotated posts.
        answers: The predictions.
        protocol: Name of a protocol, or `all`.
        against: The predictions of another system for a paired test with the same protocol (with `paper` for `all`).

    Raises:
        InputError: See `evaluate`.
    """
    name = PAPER.name if protocol == ALL else protocol
    evaluation = evaluate(answers, posts, name)
    baseline = None if against is None else evaluate(against, posts, name)
    return ScoreReport(
        evaluation,
        protocol_scores(posts, evaluation.predictions) if protocol == ALL else {},
        text_scenarios(evaluation.predictions, posts),
        None if baseline is None else compare(baseline, evaluation, names=("against", "scored")),
        GoldVersion.of(posts),
    )


def protocol_scores(posts: Sequence[Post], answers: Sequence[Prediction]) -> dict[str, dict[str, Scores]]:
    """Score the same predictions with every protocol.

    Args:
        posts: Annotated posts.
        answers: One prediction per post, in the same order.

    Returns:
        Protocol -> task -> scores; only `mner` if the regions of any post are not annotated.
    """
    types = types_of(posts)
    tasks = ("gmner", "mner", "eeg") if all(post.grounded for post in posts) else ("mner",)
    scores = {}
    for name, protocol in PROTOCOLS.items():
        totals = dict.fromkeys(tasks, TaskCounts())
        for post, answer in zip(posts, answers, strict=True):
            counts = protocol(post.gold, answer.entities, types)
            totals = {task: total + counts[task] for task, total in totals.items()}
        scores[name] = {task: Scores.of(total) for task, total in totals.items()}
    return scores


def protocol_table(protocols: Mapping[str, Mapping[str, Scores]]) -> str:
    """Format the F1 scores of all protocols as a text table, with the differences from `paper`."""
    lines = [_ROW.format("F1 by protocol", "GMNER", "MNER", "EEG", "differences")]
    for name, tasks in protocols.items():
        cells = (percent(tasks[task].f1 if task in tasks else None) for task in ("gmner", "mner", "eeg"))
        lines.append(_ROW.format(name, *cells, PROTOCOLS[name].oddity))
    return "\n".join(lines)
