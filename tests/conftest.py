"""Settings and fixtures of all tests: one thread, no network, tiers, and tiny checkpoints shared by the workers."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chromium import Tab, chromium
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    import dspy

_dspy_cache = tempfile.TemporaryDirectory(prefix="gmner-dspy-", ignore_cleanup_errors=True)

# torch, transformers and dspy read these when they are imported.
os.environ.update(
    OMP_NUM_THREADS="1",  # several OpenMP threads would compete with other processes
    TORCHDYNAMO_DISABLE="1",  # otherwise the kernels of the grammar are compiled in every process
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    DSPY_CACHEDIR=_dspy_cache.name,
)

# The examples are the same in each run, so that further ones find nothing new: the nightly run tries more.
settings.register_profile("gmner", deadline=None, derandomize=True, database=None, max_examples=25)
settings.register_profile("nightly", parent=settings.get_profile("gmner"), max_examples=100)
settings.load_profile(os.environ.get("GMNER_EXAMPLES", "gmner"))


TIERS = ("nightly", "e2e", "slow")
"""Marks of the tests that `./tests/run fast` leaves out, the longest first."""
_cpu_seconds = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast-limit",
        type=float,
        metavar="SECONDS",
        help="fail a test without the mark slow or e2e that takes more processor time than this",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of the Twitter-GMNER sample; run files with slow tests first, so that no worker ends with one."""
    ranks: dict[Path, int] = {}
    for item in items:
        if "twitter_root" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.twitter)
        rank = next((rank for rank, tier in enumerate(TIERS) if item.get_closest_marker(tier)), len(TIERS))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


def pytest_collection_finish() -> None:
    """Keep the garbage collector from visiting the millions of objects of imported libraries again and again.

    Trainers collect garbage after each run, which took half a second. Tests of memory call `gc.unfreeze` first.
    """
    gc.collect()
    gc.freeze()


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    start = processor_seconds()
    try:
        return (yield)
    finally:
        item.stash[_cpu_seconds] = processor_seconds() - start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With `--fast-limit`, fail a test of the fast tier that takes too long.

    Processor time is measured, because it does not depend on other processes; fixtures are not included.
    """
    report = yield
    limit, took = item.config.getoption("fast_limit"), item.stash.get(_cpu_seconds, 0.0)
    if limit and report.when == "call" and report.passed and took > limit:
        if not any(item.get_closest_marker(tier) for tier in TIERS):
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} took {took:.1f} s of processor time: make it faster or mark it slow or e2e"
            )
    return report


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def twitter_root(repo_root: Path) -> Path:
    """The folder of the Twitter-GMNER sample (`txt/`, `xml/`, `images/`), or a skip where it is missing."""
    root = Path(os.environ.get("GMNER_TWITTER") or repo_root.parent / "shared" / "twitter-gmner")
    if not (root / "txt").is_dir():
        pytest.skip("no Twitter-GMNER sample: set GMNER_TWITTER to a folder that holds txt/, xml/ and images/")
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str], Path]:
    """`tiny(family)`: the folder of a tiny random checkpoint of a family, built once per run for all workers.

    Tests must not write into it.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "tiny"
    root.mkdir(exist_ok=True)

    def folder(family: str) -> Path:
        from tiny import build_tiny

        built = root / family
        with FileLock(root / f"{family}.lock"):
            if not built.is_dir():
                build_tiny(family, root / f"{family}.unfinished").rename(built)
        return built

    return folder


@pytest.fixture(scope="session")
def tiny_lm(tiny: Callable[[str], Path]) -> Callable[[str], dspy.LM]:
    """`tiny_lm(family)`: an LM with the tiny checkpoint, without cache, shared by the whole session."""
    from gmner.programs.models.loading import load_vlm

    loaded: dict[str, dspy.LM] = {}

    def lm(family: str) -> dspy.LM:
        if family not in loaded:
            loaded[family] = load_vlm(tiny(family), cache=False)
        return loaded[family]

    return lm


@pytest.fixture(scope="session")
def browser() -> Iterator[Tab]:
    """A Chromium that all tests of a worker share."""
    with chromium() as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab) -> Tab:
    """The tab of the browser, in light mode and with the size of a laptop."""
    browser.messages.clear()
    browser.prefer("light")
    browser.resize(1280, 900)
    return browser
