"""Predictions as rows of a table of Hugging Face `datasets`."""

from __future__ import annotations

from typing import Any

from gmner.data.prediction import Prediction
from gmner.data.records import located
from gmner.signatures.errors import InputError


def prediction_features() -> Any:
    """The columns: `datasets.Features` of `Prediction.to_record`."""
    from datasets import Features, List, Value

    string, whole, box = Value("string"), Value("int64"), List(Value("float64"))
    place = {"span": string, "start": whole, "end": whole, "type": string, "visible": Value("bool"), "box": box}
    entity = {**place, "more_boxes": List(box), "confidence": Value("float64")}
    error = {"kind": string, "message": string}
    return Features({"id": string, "text": string, "reasoning": string, "entities": List(entity), "error": error})


def prediction_row(prediction: Prediction) -> dict[str, Any]:
    """A prediction as a row, which `Prediction.from_record` reads again.

    Raises:
        InputError: A text or reasoning that is not Unicode (half of a surrogate pair); the fact names the prediction.
    """
    record = prediction.to_record()
    with located(f"prediction {prediction.id!r}"):
        try:
            f"{record['id']}{record['text']}{record['reasoning']}".encode()
        except UnicodeEncodeError as error:
            raise InputError("The text is not Unicode", received=record["text"], remedy=str(error)) from error
    entities = [{"more_boxes": [], "confidence": None, **entity} for entity in record["entities"]]
    return {**record, "entities": entities}
