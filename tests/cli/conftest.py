"""Annotated posts, predictions and a tiny model for tests of commands."""

import json
from pathlib import Path

import pytest

from gmner.data.jsonl import write_predictions
from gmner.data.prediction import Prediction
from gmner.signatures.mentions import GroundedEntity


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """Two annotated posts."""
    place = {"span": "Ana", "start": 0, "end": 3, "type": "PER", "boxes": []}
    lines = [json.dumps({"id": id_, "text": "Ana", "entities": [place]}) for id_ in "ab"]
    (tmp_path / "gold.jsonl").write_text("\n".join(lines))
    return tmp_path / "gold.jsonl"


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """Predictions for the first of two posts and for an unknown post."""
    ana = GroundedEntity("Ana", 0, 3, "PER")
    write_predictions([Prediction("a", "Ana", "", (ana,)), Prediction("z", "Ana")], tmp_path / "half.jsonl")
    return tmp_path / "half.jsonl"
