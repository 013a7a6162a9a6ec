"""`python -m gmner.paper TABLE --small`, as a user types it: every table, with the embedded model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
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
    assert command.main([name, "--small", "--work", str(work)]) == 0
    assert "on the world (seed 0), embedded model" in capsys.readouterr().out.partition("\n")[0]
    record = json.loads((work / f"{name}.json").read_text())
    assert all(len(row["seeds"]) == 1 for row in record["rows"])
    assert {gold["posts"] for gold in record["gold"].values()} == {40 if name == "related" else 120}


@pytest.mark.nightly
def test_two_processes_make_a_table_together(tiny: Callable[[str], Path], tmp_path: Path):
    script = (
        "import sys; from gmner.paper import __main__ as command; from gmner.paper.data import small_data\n"
        "command.small_data = lambda fine: small_data(train=6, test=5)\n"
        "sys.exit(command.main(sys.argv[1:]))\n"
    )
    (tmp_path / "script.py").write_text(script)
    work, model = tmp_path / "work", str(tiny("qwen2_5_vl"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    words = ["bias", "--small", "--model", model, "--steps", "1", "1", "--work", str(work)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command_line = [*torchrun, str(tmp_path / "script.py"), *words]
    done = subprocess.run(command_line, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("**Table 4") == 1
    assert done.stdout == (work / "bias.md").read_text()
    ids = [[json.loads(line)["id"] for line in file.open()] for file in work.glob("*/gmner-*.jsonl")]
    assert ids == [[f"test-{number}" for number in range(5)]] * 5
