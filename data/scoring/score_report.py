"""`score_report`: everything that is said about one file of answers, by one protocol or under all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.counts import types_of
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation, percent
from gmner.data.scoring.pairing import Scores, TaskCounts
from gmner.data.scoring.protocols import ALL, PAPER, PROTOCOLS
from gmner.data.scoring.resampling import Comparison, compare
from gmner.data.scoring.scenarios import ScenarioScores, text_scenarios

_ROW = "{:<13} {:>7} {:>7} {:>7}  {}"


@dataclass(frozen=True)
class ScoreReport:
    """What a file of answers is worth.

    Attributes:
        evaluation: By the protocol that was asked for; by `paper` where all were.
        protocols: Protocol -> task -> scores; empty where one was asked for.
        scenarios: nervaluate's scenarios of the text side.
        comparison: The paired test against another system, or None.
    """

    evaluation: Evaluation
    protocols: Mapping[str, Mapping[str, Scores]]
    scenarios: Mapping[str, ScenarioScores]
    comparison: Comparison | None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data: that of the evaluation, with `scenarios`, and `protocols`, `comparison` if any."""
        record = {
            **self.evaluation.to_dict(),
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
        """The report as text for a terminal."""
        text = "  ".join(f"{name} {percent(scores.f1)}" for name, scores in self.scenarios.items())
        parts = [self.evaluation.summary(), f"text alone, F1  {text}"]
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
    """Score answers to annotated posts.

    Args:
        posts: Annotated posts.
        answers: The predictions.
        protocol: A protocol's name, or `all`.
        against: The predictions of another system for a paired test, by the same protocol (`paper` with `all`).

    Raises:
        InputError: See `evaluate`.
    """
    name = PAPER.name if protocol == ALL else protocol
    evaluation = evaluate(answers, posts, name)
    other = None if against is None else evaluate(against, posts, name)
    return ScoreReport(
        evaluation,
        protocol_scores(posts, evaluation.predictions) if protocol == ALL else {},
        text_scenarios(evaluation.predictions, posts),
        None if other is None else compare(other, evaluation, names=("against", "scored")),
    )


def protocol_scores(posts: Sequence[Post], answers: Sequence[Prediction]) -> dict[str, dict[str, Scores]]:
    """The same answers under every protocol.

    Args:
        posts: Annotated posts.
        answers: One prediction a post, in their order.

    Returns:
        Protocol -> task -> scores; only `mner` where a post's regions are not annotated.
    """
    types = types_of(posts)
    tasks = ("gmner", "mner", "eeg") if all(post.grounded for post in posts) else ("mner",)
    found = {}
    for name, protocol in PROTOCOLS.items():
        totals = dict.fromkeys(tasks, TaskCounts())
        for post, answer in zip(posts, answers, strict=True):
            counts = protocol(post.gold, answer.entities, types)
            totals = {task: total + counts[task] for task, total in totals.items()}
        found[name] = {task: Scores.of(total) for task, total in totals.items()}
    return found


def protocol_table(protocols: Mapping[str, Mapping[str, Scores]]) -> str:
    """F1 under every protocol as a text table, with what sets each apart."""
    lines = [_ROW.format("F1 by protocol", "GMNER", "MNER", "EEG", "what is odd")]
    for name, tasks in protocols.items():
        cells = (percent(tasks[task].f1 if task in tasks else None) for task in ("gmner", "mner", "eeg"))
        lines.append(_ROW.format(name, *cells, PROTOCOLS[name].oddity))
    return "\n".join(lines)
