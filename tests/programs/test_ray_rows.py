"""The rows of a Ray Data worker, tested without Ray."""

from typing import Any

import pytest
from scripted import scripted_lm

from gmner.programs.gmner import GMNER
from gmner.programs.ray_data import _Worker

pyarrow = pytest.importorskip("pyarrow")


@pytest.mark.parametrize(
    ("columns", "ids", "kinds"),
    [
        ({"id": [1, 2], "text": ["Ana", None], "image": [None, None]}, ["1", "2"], [None, "bad_input"]),
        ({"id": ["a", None], "text": ["Ana", "Ana"], "image": [None, None]}, ["a", ""], [None, "bad_input"]),
        ({"id": ["a"], "text": ["Ana"]}, ["a"], [None]),
        ({"text": ["Ana"]}, [""], ["bad_input"]),
        ({"id": ["a"], "text": ["Ana"], "more_images": ["a.png"]}, ["a"], ["bad_input"]),
        ({"id": ["a"]}, ["a"], ["bad_input"]),
        ({"id": [1.5], "text": [b"\xff"], "image": [7]}, ["1.5"], ["bad_input"]),
        ({"id": ["a", "b"], "text": ["Ana", ""], "image": ["none.png", None]}, ["a", "b"], ["bad_image", "bad_input"]),
        ({"id": ["a", "b"], "text": ["Ana", "Bo"], "image": [b"x", b"x"]}, ["a", "b"], ["bad_image", "bad_image"]),
    ],
)
def test_invalid_row_is_recorded(columns: dict[str, list[Any]], ids: list[str], kinds: list[str | None]):
    worker = _Worker(GMNER(scripted_lm({"reasoning": "\ud83d", "entities": []})))
    found = worker(pyarrow.table(columns))
    assert found["id"].to_pylist() == ids
    assert [error and error["kind"] for error in found["error"].to_pylist()] == kinds
