"""The documentation site builds without warnings, lists every public name, and its code uses existing names."""

import argparse
import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import BROWSER, Tab

import gmner
from gmner.cli.main import parser
from gmner.paper import __main__ as paper

for library in ("material", "mkdocstrings"):
    pytest.importorskip(library, reason="pip install -e '.[docs]'")

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning, such as a broken link or a page without a menu entry, stops the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.e2e
def test_reference_lists_every_public_name(site: Path):
    pages = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    assert [name for name in gmner.__all__ if f'id="gmner.{name}"' not in pages] == []


@pytest.mark.e2e
def test_pages_load_nothing_from_other_hosts(site: Path):
    loaded = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""")
    pages = [*site.rglob("*.html")]
    assert pages
    assert [found for page in pages for found in loaded.findall(page.read_text(encoding="utf-8"))] == []


@pytest.mark.e2e
@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_search_works_on_pages_that_are_opened_as_files(tab: Tab, site: Path):
    query = "document.querySelector('[data-md-component=search-query]')"
    type_ = (
        f"(q => (q.focus(), q.value = 'extraction', q.dispatchEvent(new Event('keyup', {{bubbles: true}}))))({query})"
    )
    found = """new Promise(done => { const wait = setInterval(() => {
        const titles = [...document.querySelectorAll('.md-search-result__item h1')].map(title => title.textContent);
        if (titles.length) clearInterval(wait), done(titles.join(', '));
    }, 50); })"""
    for page in ("index.html", "howto/compile.html"):
        tab.open(site / page)
        tab.ask(type_)
        assert "Extraction" in tab.ask(found)
        assert tab.messages == []


@pytest.mark.e2e
def test_links_to_repository_files_work(site: Path):
    linked = Path("benchmarks", "overhead.py")
    assert (site / "files" / linked).read_bytes() == (ROOT / linked).read_bytes()
    assert (site / "readme.html").is_file()


@pytest.mark.e2e
def test_notebook_pages_show_the_outputs(site: Path):
    scripts = sorted((ROOT / "notebooks").glob("*.py"))
    pages = [(site / "notebooks" / f"{script.stem}.html").read_text(encoding="utf-8") for script in scripts]
    assert pages
    for page in pages:
        assert "import gmner" in re.sub("<[^>]+>", "", page)
        assert '<div class="shown"><' in page
        assert "data:image/" in page


def test_command_line_page_has_every_option():
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    shared = page[: page.index("\n## ")]
    for name, command in (*commands(parser()), ("python -m gmner.paper", paper._parser())):
        assert f"\n## {name}\n" in page
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        options = {flag for action in command._actions for flag in action.option_strings} - {"-h", "--help"}
        assert {flag for flag in options if not re.search(rf"`{flag}\b", section + shared)} == set(), name
        told = set(re.findall(r"`(--?[a-z][a-z-]*)", section)) - {"--help"}
        assert told <= options, name


def test_the_pages_name_everything_that_can_be_chosen():
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    names = (*gmner.readers.READERS, *gmner.exporters.EXPORTERS, *gmner.presets.PRESETS)
    assert [name for name in names if f"`{name}`" not in page] == []
    page = (ROOT / "docs" / "scoring.md").read_text(encoding="utf-8")
    assert [name for name in gmner.PROTOCOLS if f"\n| `{name}` |" not in page] == []
    assert [rule.oddity for rule in gmner.PROTOCOLS.values() if rule.oddity not in page] == []


def commands(top: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def blocks(page: Path) -> list[ast.Module]:
    """The Python code of a page, one syntax tree per block."""
    return [ast.parse(code, str(page)) for code in CODE.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_on_pages_uses_existing_names(page: Path):
    imported: dict[str, object] = {"gmner": gmner}
    for node in (node for block in blocks(page) for node in ast.walk(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gmner":
            module = importlib.import_module(str(node.module))
            imported |= {alias.name: getattr(module, alias.name) for alias in node.names}
    for node in (node for block in blocks(page) for node in ast.walk(block)):
        if isinstance(node, ast.Attribute):
            resolved(node, imported)
        elif isinstance(node, ast.Call):
            check_arguments(node, resolved(node.func, imported))


def resolved(node: ast.expr, imported: dict[str, object]) -> object:
    """The object behind `gmner.a.b` or an imported name; None if it does not belong to this package."""
    if isinstance(node, ast.Name):
        return imported.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolved(node.value, imported)
        return None if owner is None else getattr(owner, node.attr)
    return None


def check_arguments(call: ast.Call, target: object) -> None:
    if target is None or inspect.isbuiltin(target) or not callable(target):
        return
    known = inspect.signature(target.__init__ if inspect.isclass(target) else target).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        assert {keyword.arg for keyword in call.keywords if keyword.arg} <= known.keys(), ast.unparse(call)


def test_pages_have_code_to_check():
    assert sum(len(blocks(page)) for page in PAGES) > 20


def test_first_example_of_the_readme_prints_the_shown_output(capsys: pytest.CaptureFixture[str]):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    exec(compile(CODE.findall(readme)[0], "README.md", "exec"), {})
    assert capsys.readouterr().out == OUTPUT.findall(readme)[0]
