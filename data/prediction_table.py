"""Predictions as rows of a table of Hugging Face `datasets`."""

from __future__ import annotations

from typing import Any

from gmner.data.prediction import Prediction
from gmner.data.records import located
from gmner.signatures.errors import InputError


def prediction_features(*, several: bool = False, thinking: bool = False) -> Any:
    """The `datasets.Features` of the columns, which are the keys of `Prediction.to_record`.

    Args:
        several: Whether a box is not in the first image of its post; entities then have `picture` and `more_pictures`.
        thinking: Whether there is a column `thinking`.
    """
    from datasets import Features, List, Value

    string, integer, box = Value("string"), Value("int64"), List(Value("float64"))
    mention = {"span": string, "start": integer, "end": integer, "type": string}
    region = {"visible": Value("bool"), "box": box, "more_boxes": List(box)}
    if several:
        region |= {"picture": integer, "more_pictures": List(integer)}
    entity = {**mention, **region, "confidence": Value("float64")}
    error = {"kind": string, "message": string}
    columns = {"id": string, "text": string, "reasoning": string, "entities": List(entity), "error": error}
    return Features({**columns, "thinking": string} if thinking else columns)


def names_pictures(prediction: Prediction) -> bool:
    """Whether a box is not in the first image of the post."""
    boxes = (box for entity in prediction.entities for box in (entity.box, *entity.more_boxes))
    return any(box is not None and box.picture > 1 for box in boxes)


def prediction_row(prediction: Prediction) -> dict[str, Any]:
    """Convert a prediction to a row that `Prediction.from_record` reads.

    Raises:
        InputError: Text, reasoning or thinking contains a lone surrogate; the message names the prediction.
    """
    record = prediction.to_record()
    with located(f"prediction {prediction.id!r}"):
        try:
            f"{record['id']}{record['text']}{record['reasoning']}{prediction.thinking}".encode()
        except UnicodeEncodeError as error:
            raise InputError(
                "The text cannot be encoded as UTF-8", received=record["text"], remedy=str(error)
            ) from error
    entities = [{"more_boxes": [], "confidence": None, **entity} for entity in record["entities"]]
    return {**record, "entities": entities, "thinking": prediction.thinking}
