"""Memory after a call: texts are kept, but neither images nor models, and caches are limited."""

import asyncio
import gc
import io
import mmap
import threading
import weakref
from pathlib import Path

import dspy
import pytest
from engine_requests import schema_for
from PIL import Image
from scripted import entity, scripted_lm

from gmner.data.images.trimming import trim
from gmner.data.post import Post
from gmner.data.scoring.metric import to_example
from gmner.programs.engine import grammar
from gmner.programs.engine.recent import Recent
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.staged import StagedGMNER

ANSWER = {"reasoning": "", "entities": [entity("Ana")]}


@pytest.fixture
def program():
    found = GMNER(scripted_lm(ANSWER, name="kept"))
    found.model.engine.requests = _DiscardingList()
    return found


class _DiscardingList(list):
    """Replaces the request list of the scripted engine, which would keep the images."""

    def append(self, _):
        pass


@pytest.fixture
def images_in_memory(monkeypatch):
    """Counts the objects in memory that hold an image of the test's size, as an image or as text."""
    gc.unfreeze()

    def count():
        gc.collect()
        found = gc.get_objects()
        pictures = sum(one.size == (301, 203) for one in found if type(one) is Image.Image)
        texts = sum(
            issubclass(type(value), str) and len(value) > 200_000
            for one in found
            if type(one) is dict
            for value in list(one.values())
        )
        return pictures + texts

    return count


def picture():
    return Image.new("RGB", (301, 203), "red")


@pytest.mark.slow
def test_single_calls_keep_no_image(program, images_in_memory):
    before = images_in_memory()
    for _ in range(2):
        program(text="Ana met Bo", image=picture())
        asyncio.run(program.acall(text="Ana met Bo", image=picture()))
    assert images_in_memory() == before


@pytest.mark.slow
def test_call_with_an_invalid_answer_keeps_no_image(images_in_memory):
    program = GMNER(scripted_lm("no answer", name="kept"))
    program.model.engine.requests = _DiscardingList()
    before = images_in_memory()
    for _ in range(3):
        with pytest.raises(Exception, match="answer"):
            program(text="Ana met Bo", image=picture())
    assert images_in_memory() == before


@pytest.mark.slow
def test_corpus_run_keeps_no_image(program, images_in_memory, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for file in files:
        picture().save(file)
    before, posts = images_in_memory(), [Post(file.stem, "Ana met Bo", file) for file in files]
    answers = program.batch_posts(posts, progress=False)
    assert images_in_memory() == before
    assert all(answer.error is None for answer in answers)


def test_history_shows_the_text(program):
    program(text="Ana met Bo", image=picture())
    for history in (program.model, program, program.answer):
        shown = io.StringIO()
        history.inspect_history(1, file=shown)
        assert "Ana met Bo" in shown.getvalue()
        assert '"span":"Ana"' in shown.getvalue()
        assert "an image, which is not kept" in shown.getvalue()
        assert len(shown.getvalue()) < 5000


def test_requested_trace_is_complete(program):
    before = len(dspy.settings.trace)
    program(text="Ana met Bo", image=picture())
    assert len(dspy.settings.trace) == before
    with dspy.context(trace=[]):
        program(text="Ana met Bo", image=picture())
        ((predictor, inputs, _),) = dspy.settings.trace
    assert predictor is program.answer
    assert inputs["image"].opened.size == (301, 203)


def test_cached_answer_is_found_by_image():
    asked = []
    lm = scripted_lm(lambda one: asked.append(one) or ANSWER, name="kept-cached").copy(cache=True)
    program = GMNER(lm)
    for colour in ("red", "blue", "red"):
        program(text="Ana met Bo", image=Image.new("RGB", (60, 40), colour))
    assert len(asked) == 2


def test_bootstrap_few_shot_gets_a_trace(program):
    posts = [Post("a", "Ana met Bo", picture(), entities=())]
    optimizer = dspy.BootstrapFewShot(metric=lambda *_: True, max_bootstrapped_demos=1, max_labeled_demos=0)
    compiled = optimizer.compile(program, trainset=[to_example(post) for post in posts])
    (demo,) = compiled.answer.demos
    assert demo["text"] == "Ana met Bo"
    assert demo["image"].opened.size == (301, 203)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [GMNER, StagedGMNER])
@pytest.mark.parametrize("closed", [True, False])
def test_unused_model_is_freed(tiny, kind, closed):
    lm = load_vlm(tiny("idefics3"), cache=False)
    program = kind(lm)
    program.batch_posts([Post("a", "Paris"), Post("b", "Rome", picture())], progress=False)
    program.batch_posts([Post("a", "Paris")], progress=False)
    try:
        program(text="Paris", image=picture())
    finally:
        worker, model = lm.engine._batcher._worker, weakref.ref(lm.engine.model)
        if closed:
            lm.engine.close()
        del lm, program
    gc.collect()
    worker.join(5)
    assert worker not in threading.enumerate()
    gc.collect()
    assert model() is None


def test_recent_values_are_limited_in_bytes():
    kept: Recent[str] = Recent(10, most=3)
    for key, size in ((b"a", 4), (b"b", 4), (b"c", 1)):
        kept.put(key, key.decode(), size)
    assert kept.get(b"a") == "a"
    kept.put(b"d", "d", 5)
    assert [kept.get(key) for key in (b"a", b"b", b"c", b"d")] == ["a", None, "c", "d"]
    kept.put(b"d", "d", 1)
    kept.put(b"huge", "huge", 11)
    assert (len(kept), kept.size) == (0, 0)


def test_grammar_cache_is_limited_in_bytes(tiny_lm, monkeypatch):
    monkeypatch.setattr(grammar, "_CACHE_BYTES", 2**21)
    engine = tiny_lm("idefics3").engine
    compiler = grammar.GrammarCompiler(engine.model, engine.processor.tokenizer, "llguidance")
    parsed, parse = [], grammar._parse
    monkeypatch.setattr(grammar, "_parse", lambda *given: parsed.append(1) or parse(*given))
    schemas = [schema_for(f"{number} " + "Paris in May " * 3, engine.profile) for number in range(12)]
    for schema in (*schemas, schemas[-1]):
        compiler.compile(schema)
    assert len(parsed) == 12
    assert 0 < len(compiler._cache) < 12
    assert compiler._cache.size <= 2**21


def test_grammar_size_estimate_of_a_short_post(tiny_lm):
    engine = tiny_lm("idefics3").engine
    compiler = grammar.GrammarCompiler(engine.model, engine.processor.tokenizer, "llguidance")
    compiler.compile(schema_for("Rome", engine.profile))
    before, resident = compiler._cache.size, _resident()
    for number in range(200):
        compiler.compile(schema_for(f"Paris {number}", engine.profile))
    assert compiler._cache.size - before > (_resident() - resident) / 2


def _resident() -> int:
    """Resident memory of this process in bytes."""
    trim()
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
