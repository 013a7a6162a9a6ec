"""What every test stands on: one thread, no network, its own cache, the Twitter-GMNER sample where there is one."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

_dspy_cache = tempfile.TemporaryDirectory(prefix="gmner-dspy-", ignore_cleanup_errors=True)

# Read when torch, transformers and dspy are first imported, so set before any test module is.
os.environ.update(
    OMP_NUM_THREADS="1",  # with more, OpenMP spins against every other busy process
    TORCHDYNAMO_DISABLE="1",  # the grammar's mask kernels would be compiled in every process
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    DSPY_CACHEDIR=_dspy_cache.name,
)

settings.register_profile("gmner", deadline=None, derandomize=True, database=None)
settings.load_profile("gmner")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that reads the Twitter-GMNER sample, so that `-m "not twitter"` leaves it out."""
    for item in items:
        if "twitter_root" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.twitter)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The folder of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def twitter_root(repo_root: Path) -> Path:
    """The folder of the Twitter-GMNER sample (`txt/`, `xml/`, `images/`), or a skip where it is missing."""
    root = Path(os.environ.get("GMNER_TWITTER") or repo_root.parent / "shared" / "twitter-gmner")
    if not (root / "txt").is_dir():
        pytest.skip("no Twitter-GMNER sample: set GMNER_TWITTER to a folder that holds txt/, xml/ and images/")
    return root
