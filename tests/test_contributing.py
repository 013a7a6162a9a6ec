"""CONTRIBUTING.md and docs/architecture.md are correct: code runs, the picture is current, editors find the package."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from mypy.modulefinder import FindModuleCache, SearchPaths
from mypy.options import Options

import gmner
from gmner.data.oddities import Posts

CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def blocks(repo_root: Path) -> list[str]:
    return CODE.findall((repo_root / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def run(blocks: list[str], word: str) -> dict[str, object]:
    """Run the code block with this word and return the names that it defines."""
    (code,) = (block for block in blocks if word in block)
    names: dict[str, object] = {"__name__": "contributed"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    return names


def test_reader_example_runs(blocks: list[str], tmp_path: Path):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"text": "Durant in Paris", "names": {"Paris": "LOC", "Rome": "LOC"}}\n', encoding="utf-8")
    run(blocks, "def read_pairs")
    posts = gmner.read_dataset(file, format="pairs")
    gmner.readers.unregister("pairs")
    assert isinstance(posts, Posts)
    assert [(entity.span, entity.start, entity.type) for entity in posts[0].gold] == [("Paris", 10, "LOC")]
    assert [str(oddity) for oddity in posts.oddities] == [f"{file}:1: 'Rome' is not in the text and was left out"]


def test_the_other_kinds_are_registered(blocks: list[str], tmp_path: Path):
    run(blocks, "def write_texts")
    posts = [gmner.Post("a", "Ana", entities=(gmner.GoldEntity("Ana", 0, 3, "PER"),))]
    gmner.exporters.EXPORTERS["texts"].write(gmner.exporters.Export(posts, None, tmp_path / "texts.json"))
    assert json.loads((tmp_path / "texts.json").read_text(encoding="utf-8")) == ["Ana"]
    answers = [gmner.Prediction("a", "Ana", "", (gmner.GroundedEntity("Ana", 0, 3, "ORG"),))]
    assert gmner.evaluate(answers, posts, protocol="names", progress=False).gmner.f1 == 100
    assert list(gmner.preset("short").mrsi.style_set) == ["names_only", "table"]
    for module, name in (
        (gmner.exporters, "texts"), (gmner.protocols, "names"), (gmner.styles, "names_only"), (gmner.presets, "short")
    ):  # fmt: skip
        module.unregister(name)


def test_the_family_is_known(blocks: list[str]):
    run(blocks, "families.register")
    assert gmner.families.profile_for_name("openai/My-VLM-7B").box_format == gmner.BoxFormat("normalized", 100)
    gmner.families.unregister("my_vlm")
    with pytest.raises(gmner.ModelError, match="family of the model is unknown"):
        gmner.families.profile_for_name("openai/My-VLM-7B")


def test_the_reward_has_a_name(blocks: list[str]):
    names = run(blocks, "def all_found")
    gmner.rewards.unregister("all_found")
    assert names["all_found"].__name__ == "all_found"
    assert isinstance(names["optimizer"], gmner.MCR)


def test_the_profile_of_a_family_is_read(blocks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from gmner.programs.models.families import ModelProfile
    from gmner.programs.models.families.profile import stored_profile
    from gmner.signatures.boxes import BoxFormat

    monkeypatch.chdir(tmp_path)
    run(blocks, "PROFILE_FILE")
    before = ModelProfile(BoxFormat(frame="normalized", scale=1000))
    stored = stored_profile(Path("checkpoint"), before)
    assert stored is not None
    assert stored.box_format == BoxFormat(frame="resized", scale=1000)


def test_picture_of_the_packages_is_current(repo_root: Path):
    grimp = pytest.importorskip("grimp")
    spec = importlib.util.spec_from_file_location("rooms", repo_root / "docs" / "rooms.py")
    rooms = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rooms)
    drawn = rooms.draw(grimp.build_graph("gmner", cache_dir=None))
    shown = (repo_root / "docs" / "pictures" / "rooms.svg").read_text(encoding="utf-8")
    assert shown == drawn, "python docs/rooms.py -o docs/pictures/rooms.svg"


def test_paths_in_the_architecture_page_exist(repo_root: Path):
    page = (repo_root / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:[a-z_0-9]+/)+(?:[a-z_0-9]+\.py)?)`", page)) - {"adapter/"}  # in a bundle
    assert len(paths) > 15
    assert [path for path in sorted(paths) if not (repo_root / path).exists()] == []


def test_seams_stand_where_the_page_says(repo_root: Path):
    page = (repo_root / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[1:4]
        for line in page[page.index("## Seams") :].splitlines()
        if "`" in line and line.startswith("|")
    ]
    assert len(rows) > 7
    for library, parts, file in rows:
        code = (repo_root / file.strip().strip("`")).read_text(encoding="utf-8")
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", parts):
            assert name in code, (library, name, file)


def test_changelog_and_citation_name_the_version(repo_root: Path):
    version = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (repo_root / "CHANGELOG.md").read_text(encoding="utf-8")
    number, date = re.search(r"^## \[(\d\S+)\] - (\S+)$", changelog, re.MULTILINE).groups()
    citation = (repo_root / "CITATION.cff").read_text(encoding="utf-8")
    assert number == version
    assert f"\nversion: {version}\ndate-released: {date}\n" in citation


@pytest.mark.slow
def test_slow_test_in_the_fast_tier_fails(repo_root: Path, tmp_path: Path):
    shutil.copy(repo_root / "tests" / "conftest.py", tmp_path)
    burn = "    end = time.process_time() + 0.3\n    while time.process_time() < end:\n        pass\n"
    tests = f"import pytest, time\ndef test_unmarked():\n{burn}@pytest.mark.slow\ndef test_marked():\n{burn}"
    (tmp_path / "test_tiers.py").write_text(tests, encoding="utf-8")
    config = ["-c", repo_root / "pyproject.toml", "--rootdir", tmp_path, "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *config, "--fast-limit", "0.2", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "test_unmarked took 0.3 s of processor time" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


# Editors


@pytest.fixture
def linked(repo_root: Path) -> Path:
    """The folder that links to the root under the package's name; skips if links are not supported."""
    if not (repo_root / ".editor" / "gmner").is_symlink():
        pytest.skip("this checkout has no symbolic links")
    return repo_root / ".editor"


@pytest.fixture(scope="module")
def settings(repo_root: Path) -> dict[str, dict[str, object]]:
    return tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def test_editor_settings_use_the_link(linked: Path, settings: dict[str, dict[str, object]], repo_root: Path):
    assert (linked / "gmner").resolve() == repo_root
    assert ".editor" in settings["pyright"]["extraPaths"]
    assert ".editor" in settings["pyright"]["exclude"]
    assert json.loads((repo_root / ".vscode" / "settings.json").read_text())["search.followSymlinks"] is False


def test_mypy_checks_only_the_packages(linked: Path, settings: dict[str, dict[str, object]], repo_root: Path):
    options = Options()
    options.exclude = settings["mypy"]["exclude"]
    assert settings["mypy"]["mypy_path"] == "$MYPY_CONFIG_FILE_DIR/.editor"
    finder = FindModuleCache(SearchPaths((), (str(linked),), (), ()), None, options)
    found = {source.module for source in finder.find_modules_recursive("gmner")}
    rooms = {path.parent.name for path in repo_root.glob("*/__init__.py")}
    assert {name.split(".")[1] for name in found if name.count(".") > 1} == rooms
    assert {"gmner.gpu", "gmner.cli.main", "gmner.recipes.embedded.model"} <= found


def test_link_causes_no_endless_search(linked: Path, repo_root: Path):
    assert [path for path in repo_root.rglob("pyproject.toml") if ".editor" in path.parts] == []
