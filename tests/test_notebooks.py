"""The notebooks run from top to bottom, and their results render."""

import json
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_renders(notebook: Path, tmp_path: Path) -> None:
    target = tmp_path / "notebook.ipynb"
    command = [sys.executable, "-m", "jupytext", "--to", "ipynb", "--execute", "--output", target, notebook]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [cell for cell in json.loads(target.read_text())["cells"] if cell["cell_type"] == "code"]
    assert "text/html" in cells[-1]["outputs"][-1]["data"]
    assert "<svg" in "".join(cells[-1]["outputs"][-1]["data"]["text/html"])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_ipynb_beside_it_has_the_same_cells(notebook: Path) -> None:
    remedy = f"python -m jupytext --to ipynb notebooks/{notebook.name}"
    beside, script = jupytext.read(notebook.with_suffix(".ipynb")), jupytext.read(notebook)
    for mine, theirs in zip(beside.cells, script.cells, strict=True):
        assert (mine.cell_type, mine.source) == (theirs.cell_type, theirs.source), remedy


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
