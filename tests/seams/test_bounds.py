"""Where private parts of libraries are used, and which versions are allowed then."""

import ast
import importlib
import inspect
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from types import FunctionType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gmner

ELSEWHERE = {"python", "vllm"}
"""Libraries with a seam that are not dependencies."""
OURS = {"gmner", "builtins", "abc", "enum", "typing", "pydantic"}
"""Packages that write private names into each class themselves, or are this one."""
OVERRIDING = (FunctionType, property, classmethod, staticmethod)
NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}


def seam_files(root: Path) -> dict[str, Path]:
    """Library -> its seam file."""
    files = [*(root / "programs/seams").glob("*_seams.py"), root / "optimizers/training/trl_seams.py"]
    return {path.stem.removesuffix("_seams"): path for path in files}


def test_libraries_with_seams_stay_below_the_next_minor_version(repo_root: Path):
    project = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = {(found := Requirement(text)).name: found.specifier for text in project["dependencies"]}
    lines = (repo_root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    libraries = {*seam_files(repo_root), "llguidance", "dspy-ai"} - ELSEWHERE
    for library in libraries:
        major, minor = Version(pinned[library]).release[:2]
        assert pinned[library] in allowed[library]
        assert f"{major}.{minor}.99" in allowed[library]
        assert f"{major}.{minor + 1}" not in allowed[library], f"{library} needs the bound <{major}.{minor + 1}"


def required(names: list[str]) -> set[str]:
    """The packages that these requirements install in this environment, with everything under them."""
    todo, found = [Requirement(name) for name in names], set[tuple[str, frozenset[str]]]()
    while todo:
        each = todo.pop()
        key = (canonicalize_name(each.name), frozenset(each.extras))
        if key in found:
            continue
        found.add(key)
        for under in map(Requirement, requires(each.name) or ()):
            if under.marker is None or any(under.marker.evaluate({"extra": e}) for e in ("", *each.extras)):
                todo.append(under)
    return {name for name, _ in found}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the pins are those of Python 3.11")
def test_every_package_of_a_fresh_environment_is_pinned(repo_root: Path):
    """Otherwise pip searches for minutes, and the same commit is tested with other versions each day."""
    project = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (repo_root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.partition("==")[0] for line in lines if line and not line.startswith("#")]
    assert len(set(pinned)) == len(pinned)
    assert all(Version(line.partition("==")[2]).local is None for line in lines if line and not line.startswith("#"))
    wanted = required([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    assert wanted - {canonicalize_name(name) for name in pinned} == {"pip"}


def test_each_seam_file_has_its_tests_and_a_row_in_the_documentation(repo_root: Path):
    documented = (repo_root / "docs/architecture.md").read_text(encoding="utf-8")
    for library, path in seam_files(repo_root).items():
        assert (repo_root / "tests/seams" / f"test_{library}_seams.py").is_file()
        assert path.relative_to(repo_root).as_posix() in documented


def sources(root: Path) -> Iterator[Path]:
    rooms = ("signatures", "data", "programs", "optimizers", "cli", "recipes")
    yield from (path for room in rooms for path in sorted((root / room).rglob("*.py")))


def own_names(tree: ast.AST) -> Iterator[str]:
    """Names that a file defines: functions, classes, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                yield node.attr


@pytest.mark.slow
def test_private_names_of_others_stand_in_the_seam_files_only(repo_root: Path):
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources(repo_root)}
    own = {name for tree in trees.values() for name in own_names(tree)} | NAMED_TUPLE
    foreign = [
        f"{path.relative_to(repo_root)}:{node.lineno}: {ast.unparse(node)}"
        for path, tree in trees.items()
        if path not in seam_files(repo_root).values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if node.attr not in own
    ]
    assert foreign == []


@pytest.mark.slow
def test_private_methods_of_others_are_overridden_in_the_seam_files_only():
    overridden = []
    for module in pkgutil.walk_packages(gmner.__path__, "gmner."):
        if module.name.startswith(("gmner.data", "gmner.programs", "gmner.optimizers", "gmner.recipes")):
            if "_seams" in module.name or module.name.endswith("__main__"):
                continue
            for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if kind.__module__ == module.name:
                    bases = [base for base in kind.__mro__[1:] if base.__module__.partition(".")[0] not in OURS]
                    private = {
                        key
                        for key, value in vars(kind).items()
                        if key.startswith("_") and not key.startswith("__") and isinstance(value, OVERRIDING)
                    }
                    overridden += [f"{module.name}.{name}.{key}" for key in private for b in bases if key in vars(b)]
    assert overridden == []
