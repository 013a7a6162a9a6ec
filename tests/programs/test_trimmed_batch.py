"""Memory of large key-value caches is returned to the system, with unchanged answers."""

from collections.abc import Callable

import dspy
import pytest

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.programs.engine import batch
from gmner.programs.gmner import GMNER
from gmner.signatures.schema import Limits


@pytest.fixture(scope="module")
def posts() -> list[Post]:
    return World().posts("dev", 3)


@pytest.mark.parametrize(("large", "trimmed"), [(0, True), (2**40, False)])
def test_memory_of_large_caches_is_released(
    tiny_lm: Callable[[str], dspy.LM], posts: list[Post], monkeypatch: pytest.MonkeyPatch, large: int, trimmed: bool
):
    calls: list[int] = []
    monkeypatch.setattr(batch, "_LARGE_CACHE", large)
    monkeypatch.setattr(batch, "trim", lambda: calls.append(1))
    program = GMNER(tiny_lm("idefics3"), limits=Limits(reasoning=20, entities=2))
    assert all(answer.error is None for answer in program.batch_posts(posts, progress=False))
    assert bool(calls) is trimmed
