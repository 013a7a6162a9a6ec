"""The installed package: light imports, public names, and the content of the wheel."""

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import grimp
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

import gmner

HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "outlines", "datasets"}
ROOMS = ("signatures", "data", "programs", "optimizers", "app", "paper", "cli")
SHOW_HELP = """
sys.argv = ["gmner", "--help"]
try:
    runpy.run_module("gmner.cli.main", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
"""


@pytest.mark.parametrize("code", ["import gmner", SHOW_HELP], ids=["import", "command-line-help"])
def test_import_loads_no_model_library(code: str, tmp_path: Path):
    script = f"import json, runpy, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert HEAVY & set(json.loads(run.stdout.splitlines()[-1])) == set()


def test_public_names_resolve():
    assert len(gmner.__all__) == len(set(gmner.__all__)) > 0
    assert [name for name in gmner.__all__ if not hasattr(gmner, name)] == []
    assert set(gmner.__all__) <= set(dir(gmner))


def test_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        gmner.no_such_name  # noqa: B018


def test_version_is_defined_once(repo_root: Path):
    declared = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert gmner.__version__ == importlib.metadata.version("gmner") == declared


@pytest.fixture(scope="module")
def wheel_names(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel of this checkout, built offline and outside the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    config = folder / "build.cfg"
    config.write_text(f"[build]\nbuild_base = {folder}\n[egg_info]\negg_base = {folder}\n", encoding="utf-8")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder]
    environment = os.environ | {"DIST_EXTRA_CONFIG": str(config)}
    run = subprocess.run([*build, repo_root], env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    (wheel,) = folder.glob("gmner-*.whl")
    return {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("gmner/")}


@pytest.mark.e2e
def test_wheel_contains_only_the_packages(wheel_names: set[str], repo_root: Path):
    sources = {*repo_root.glob("*.py"), *(path for room in ROOMS for path in (repo_root / room).rglob("*.py"))}
    expected = {f"gmner/{path.relative_to(repo_root).as_posix()}" for path in sources}
    assert {name for name in wheel_names if name.endswith(".py")} == expected


@pytest.mark.e2e
def test_wheel_contains_the_data_files(wheel_names: set[str], repo_root: Path):
    files = [
        path
        for folder in ("programs/models/embedded", "data/pages/templates")
        for path in (repo_root / folder).glob("*.*")
    ]
    files += [path for kind in ("css", "js") for path in (repo_root / "app").glob(f"*.{kind}")]
    expected = {f"gmner/{path.relative_to(repo_root).as_posix()}" for path in files} | {"gmner/py.typed"}
    assert {name for name in wheel_names if not name.endswith(".py")} == expected


def test_no_import_cycles_between_files():
    graph = grimp.build_graph("gmner", exclude_type_checking_imports=False, cache_dir=None)
    names = sorted(graph.modules - {"gmner"})  # the root re-exports names of every room, lazily
    place = {name: number for number, name in enumerate(names)}
    edges = [(place[a], place[b]) for a in names for b in graph.find_modules_directly_imported_by(a) - {"gmner"}]
    starts, ends = zip(*edges, strict=True)
    links = csr_array(([1] * len(edges), (starts, ends)), shape=(len(names), len(names)))
    count, component = connected_components(links, directed=True, connection="strong")
    groups = [[name for name in names if component[place[name]] == number] for number in range(count)]
    assert [group for group in groups if len(group) > 1] == []
