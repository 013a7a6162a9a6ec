"""The text side of an answer in nervaluate's scenarios, which give credit for half a name or a wrong type."""

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
        correct: Number of predictions that are right in this scenario.
        incorrect: That overlap a gold mention and are wrong.
        partial: That overlap a gold mention with other bounds, where that earns half (`partial` only).
        missed: Gold mentions that no prediction overlaps.
        spurious: Predictions that overlap no gold mention.
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
        """The scores as JSON data."""
        return asdict(self)


def text_scenarios(
    predictions: Iterable[Prediction], posts: Sequence[Post], types: Iterable[str] | None = None
) -> dict[str, ScenarioScores]:
    """Score spans and types alone, as nervaluate does.

    `strict`: bounds and type right. `exact`: bounds right, whatever the type. `partial`: an overlap earns half.
    `ent_type`: type right with some overlap. Bounds are characters.

    Args:
        predictions: The answers; a post without one counts as answered with nothing.
        posts: Annotated posts.
        types: The types that count; None: all of gold and predictions. nervaluate leaves others out.

    Returns:
        Scenario -> its scores.

    Source: SemEval-2013 task 9 (Segura-Bedmar et al.), section 9.1, by the library nervaluate.
    """
    by_id: Mapping[str, Prediction] = {prediction.id: prediction for prediction in predictions}
    gold = [_spans(post.gold) for post in posts]
    answers = [_spans(by_id[post.id].entities) if post.id in by_id else [] for post in posts]
    names = {str(span["label"]) for spans in (*gold, *answers) for span in spans} if types is None else set(types)
    found = Evaluator(gold, answers, tags=sorted(names), loader="dict").evaluate()["overall"]
    return {name: _scores(found[name]) for name in SCENARIOS if name in found}


def _spans(mentions: Iterable[Mention]) -> list[dict[str, object]]:
    """Mentions as nervaluate takes them, the last character included; those that are not in the text have no place."""
    return [{"label": m.type, "start": m.start, "end": m.end - 1} for m in mentions]


def _scores(result: Any) -> ScenarioScores:
    counts = (result.correct, result.incorrect, result.partial, result.missed, result.spurious)
    return ScenarioScores(100 * result.precision, 100 * result.recall, 100 * result.f1, *counts)
