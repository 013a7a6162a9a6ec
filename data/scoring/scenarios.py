"""Scores of spans and types in the scenarios of nervaluate, which give credit for partly correct entities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nervaluate import Evaluator

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.mentions import Mention

SCENARIOS = ("strict", "exact", "partial", "ent_type")


@dataclass(frozen=True, slots=True)
class ScenarioScores:
    """Scores of one scenario.

    Attributes:
        precision: In percent.
        recall: In percent.
        f1: In percent.
        correct: Number of predictions that are correct in this scenario.
        incorrect: Number of predictions that overlap a gold mention but are wrong.
        partial: Number of predictions that overlap a gold mention and get half credit (only in `partial`).
        missed: Number of gold mentions that no prediction overlaps.
        spurious: Number of predictions that overlap no gold mention.
    """

    precision: float
    recall: float
    f1: float
    correct: int
    incorrect: int
    partial: int
    missed: int
    spurious: int

    def to_dict(self) -> dict[str, float]:
        """Convert the scores to JSON data."""
        return asdict(self)


def text_scenarios(
    predictions: Iterable[Prediction], posts: Sequence[Post], types: Iterable[str] | None = None
) -> dict[str, ScenarioScores]:
    """Score spans and types with nervaluate, without regions.

    - `strict`: offsets and type must be correct.
    - `exact`: offsets must be correct; the type is ignored.
    - `partial`: correct offsets get full credit, an overlap half; the type is ignored.
    - `ent_type`: the type must be correct, and the spans must overlap.

    Args:
        predictions: The predictions; a post without a prediction is scored as an empty answer.
        posts: Annotated posts.
        types: The types to score; None: all types of gold and predictions. Other types are ignored.

    Returns:
        Scenario -> its scores.

    Source: SemEval-2013 task 9 (Segura-Bedmar et al.), section 9.1, by the library nervaluate.
    """
    by_id: Mapping[str, Prediction] = {prediction.id: prediction for prediction in predictions}
    gold = [_spans(post.gold) for post in posts]
    answers = [_spans(by_id[post.id].entities) if post.id in by_id else [] for post in posts]
    names = {str(span["label"]) for spans in (*gold, *answers) for span in spans} if types is None else set(types)
    results = Evaluator(gold, answers, tags=sorted(names), loader="dict").evaluate()["overall"]
    return {name: _scores(results[name]) for name in SCENARIOS if name in results}


def _spans(mentions: Iterable[Mention]) -> list[dict[str, object]]:
    """Convert mentions to the format of nervaluate, whose end offset is inclusive."""
    return [{"label": m.type, "start": m.start, "end": m.end - 1} for m in mentions]


def _scores(result: Any) -> ScenarioScores:
    counts = (result.correct, result.incorrect, result.partial, result.missed, result.spurious)
    return ScenarioScores(100 * result.precision, 100 * result.recall, 100 * result.f1, *counts)
