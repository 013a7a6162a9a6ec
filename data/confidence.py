"""`least_sure`: the predictions that a person should look at first, by the confidence of their entities."""

from __future__ import annotations

from collections.abc import Iterable

from gmner.data.prediction import Prediction
from gmner.signatures.errors import InputError


def least_sure(predictions: Iterable[Prediction], count: int | None = None) -> list[Prediction]:
    """Sort predictions by the confidence of their least sure entity, the lowest first.

    Failed predictions come before all others. Predictions without entities come last, because a model states no
    confidence in having found nothing. The order is otherwise that of the predictions.

    Args:
        predictions: Predictions with confidences, of `confidence=True`.
        count: Maximum number of predictions to return; None: all.

    Raises:
        InputError: An entity has no confidence, or `count` is below 1.

    Example:
        >>> from gmner.signatures.mentions import GroundedEntity
        >>> sure, unsure = (GroundedEntity("Ana", 0, 3, "PER", confidence=value) for value in (0.9, 0.4))
        >>> [p.id for p in least_sure([Prediction("a", "Ana", "", (sure,)), Prediction("b", "Ana", "", (unsure,))])]
        ['b', 'a']
    """
    if count is not None and count < 1:
        raise InputError("count must be at least 1", received=count)
    return sorted(predictions, key=answer_confidence)[:count]


def answer_confidence(prediction: Prediction) -> float:
    """The lowest confidence of the entities of a prediction: -1 if it failed, 2 if it has no entities.

    Raises:
        InputError: An entity has no confidence.
    """
    if prediction.error is not None:
        return -1.0
    values = [2.0]
    for entity in prediction.entities:
        if entity.confidence is None:
            fact = f"The prediction for post {prediction.id!r} has no confidence"
            raise InputError(fact, remedy="Predict with `gmner extract --confidence`, or confidence=True")
        values.append(entity.confidence)
    return min(values)
