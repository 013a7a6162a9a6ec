"""The examples in docstrings run and produce the output shown."""

import doctest
import importlib
from pathlib import Path

import pytest

import gmner

ROOT = Path(gmner.__file__).resolve().parent
ROOMS = ("signatures", "data", "programs", "optimizers", "cli", "recipes")


def modules_with_examples() -> list[str]:
    """Modules whose docstrings contain `>>>`, found without importing them."""
    paths = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    return sorted(
        ".".join(["gmner", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        for path in paths
        if ">>> " in path.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("name", modules_with_examples())
def test_docstring_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert any(test.examples for test in doctest.DocTestFinder().find(module))
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0
