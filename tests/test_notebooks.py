"""The notebooks run from top to bottom and their results render."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
from tiers import daily

pytestmark = pytest.mark.e2e

SMALLER = {
    "bias_goes": {
        'world.posts("train", 300), world.posts("test", 48)': 'world.posts("train", 24), world.posts("test", 12)',
        "optimizer.progress = False": "optimizer.progress = False\n"
        "optimizer.mrsi = replace(optimizer.mrsi, max_steps=2)\n"
        "optimizer.cvo = replace(optimizer.cvo, max_steps=2, prompts=2, generations=2)",
    },
    "first_steps": {
        "max_steps=8, batch=8": "max_steps=1, batch=2",
        "max_steps=2, prompts=2, generations=4, max_completion_length=200": "max_steps=1, prompts=2, generations=2, "
        "redraws=0, max_completion_length=40",
        'world.posts("train", 32), valset=held_out[:8]': 'world.posts("train", 6), valset=held_out[:2]',
        'world.posts("test", 24)': 'world.posts("test", 9)',
    },
    "your_own_data": {
        '{"train": 24, "dev": 12}': '{"train": 6, "dev": 4}',
        "held_out = dev[:12]": "held_out = dev[:3]",
        "valset=dev[:4]": "valset=dev[:2]",
        "max_completion_length=128": "redraws=0, max_completion_length=40",
    },
}
"""Replacements that shorten the training of a notebook: that it runs and renders does not depend on it.

GMNER_WHOLE_NOTEBOOKS=1 runs all as they are.
"""
NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))


@pytest.mark.parametrize("name", daily([path.stem for path in NOTEBOOKS], "first_steps", "your_own_data"))
def test_notebook_runs_and_renders(name: str, tmp_path: Path) -> None:
    (notebook,) = (path for path in NOTEBOOKS if path.stem == name)
    script, target = tmp_path / notebook.name, tmp_path / "notebook.ipynb"
    code = notebook.read_text(encoding="utf-8")
    for old, new in ({} if os.environ.get("GMNER_WHOLE_NOTEBOOKS") else SMALLER.get(notebook.stem, {})).items():
        assert code.count(old) == 1
        code = code.replace(old, new)
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "jupytext", "--to", "ipynb", "--execute", "--output", target, script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [cell for cell in json.loads(target.read_text())["cells"] if cell["cell_type"] == "code"]
    assert "text/html" in cells[-1]["outputs"][-1]["data"]
    assert "<svg" in "".join(cells[-1]["outputs"][-1]["data"]["text/html"])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_ipynb_has_the_same_cells_with_outputs(notebook: Path) -> None:
    remedy = f"python docs/notebooks.py {notebook.stem}"
    beside, script = jupytext.read(notebook.with_suffix(".ipynb")), jupytext.read(notebook)
    for mine, theirs in zip(beside.cells, script.cells, strict=True):
        assert (mine.cell_type, mine.source) == (theirs.cell_type, theirs.source), remedy
    shown = [cell for cell in beside.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in shown), remedy
    outputs = [output for cell in shown for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"execute_result", "stream"}, remedy
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream"), remedy
    assert "<svg" in shown[-1].outputs[-1].data["text/html"], remedy


def test_notebooks_exist() -> None:
    assert NOTEBOOKS
