"""Write each notebook's `.ipynb` from its `.py`, executed, with what it shows.

    python docs/notebooks.py                    # all of them; minutes
    python docs/notebooks.py first_steps

Kept is what a reader looks at: no bars and no warnings, and no output of a cell that is tagged `not-kept`.
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
    """A notebook that ran from top to bottom; paths and times of this run are not in it."""
    notebook = jupytext.read(script)
    with tempfile.TemporaryDirectory() as work:
        NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": work}}).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{script.stem}-{number}"  # else it is drawn anew each time
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [] if "not-kept" in cell.metadata.get("tags", ()) else [o for o in cell.outputs if kept(o)]
    return notebook


def kept(output: NotebookNode) -> bool:
    """Whether an output is for a reader: bars and warnings go to the error stream."""
    return not (output.output_type == "stream" and output.name == "stderr")


def main() -> None:
    """Execute the notebooks that are named, or all."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the embedded model is enough
    for name in tqdm(sys.argv[1:] or sorted(script.stem for script in FOLDER.glob("*.py")), unit="notebook"):
        jupytext.write(executed(FOLDER / f"{name}.py"), FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
