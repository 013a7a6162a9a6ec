"""Execute each notebook's `.py` and save it with its outputs as `.ipynb`.

    python docs/notebooks.py                    # all of them; minutes
    python docs/notebooks.py first_steps

Progress bars, warnings and the outputs of cells tagged `not-kept` are not saved.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode
from tqdm.auto import tqdm

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def executed(script: Path) -> NotebookNode:
    """Run a notebook from top to bottom; paths and times of the run are not saved."""
    notebook = jupytext.read(script)
    with tempfile.TemporaryDirectory() as work:
        NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": work}}).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{script.stem}-{number}"  # otherwise the id changes on each run
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [] if "not-kept" in cell.metadata.get("tags", ()) else [o for o in cell.outputs if kept(o)]
    return notebook


def kept(output: NotebookNode) -> bool:
    """Whether an output is saved; progress bars and warnings go to the error stream."""
    return not (output.output_type == "stream" and output.name == "stderr")


def main() -> None:
    """Execute the given notebooks, or all of them."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # only the embedded model is needed
    for name in tqdm(sys.argv[1:] or sorted(script.stem for script in FOLDER.glob("*.py")), unit="notebook"):
        jupytext.write(executed(FOLDER / f"{name}.py"), FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
