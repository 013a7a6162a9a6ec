"""`python -m gmner.paper TABLE --small`, as a user types it: every table, with the embedded model."""

import json
import os
from pathlib import Path

import pytest

from gmner.paper import __main__ as command
from gmner.paper.tables.registry import TABLES


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder that all tables share."""
    return tmp_path_factory.mktemp("paper-small")


@pytest.mark.nightly
@pytest.mark.parametrize("name", TABLES)
def test_every_table_in_small(name: str, work: Path, capsys: pytest.CaptureFixture[str]):
    began = sum(os.times()[:4])
    assert command.main([name, "--small", "--work", str(work)]) == 0
    assert sum(os.times()[:4]) - began < 600  # processor time, because other tests run beside it
    assert "on the world (seed 0), embedded model" in capsys.readouterr().out.partition("\n")[0]
    record = json.loads((work / f"{name}.json").read_text())
    assert all(len(row["seeds"]) == 1 for row in record["rows"])
    assert {gold["posts"] for gold in record["gold"].values()} == {120}
