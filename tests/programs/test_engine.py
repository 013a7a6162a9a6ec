"""The engine from end to end on tiny random checkpoints of every family."""

import asyncio
import copy
import functools
import itertools
import json
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Literal

import dspy
import pytest
import torch
from dspy import lm15
from engine_requests import HOSTILE, SIZE, checked, request, schema_for, text_of
from PIL import Image
from tiers import daily
from tiny import FAMILIES

from gmner.data.images.opening import open_image
from gmner.data.post import Post
from gmner.programs import corpus
from gmner.programs.engine.batch import Batch
from gmner.programs.engine.batching import PendingCall
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.errors import ImageError, InputError, ModelError, TruncatedAnswerError
from gmner.signatures.schema import Limits


def _posts(count, seed=0):
    chosen = random.Random(seed)
    words = [
        "Paris",
        "É",
        "😀",
        '"',
        "\\",
        "\\n",
        "\u202eabc",
        "مرحبا",
        "</s>",
        "<image>",
        "\x00",
        "日本",
        "'s",
        "{",
        "#x_y",
    ]
    return [" ".join(chosen.choices(words, k=chosen.randint(1, 9))) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("family", daily(FAMILIES, "idefics3", "qwen2_vl", "qwen3_vl"))
def test_every_answer_is_valid(tiny_lm, family):
    engine = tiny_lm(family).engine
    posts = [HOSTILE, "Paris", "...", "   ", *_posts(4)]
    cases = [(post, size, heat) for post in posts for size, heat in ((SIZE, 1.0), (None, 1.0), (SIZE, 0.0))]
    requests = [
        request(post, schema_for(post, engine.profile, size), size, temperature=heat, seed=index)
        for index, (post, size, heat) in enumerate(cases)
    ]
    for (post, size, _), response in zip(cases, engine.complete_many(requests), strict=True):
        checked(text_of(response), post, engine.profile, size)
        assert response.finish_reason == "stop"
        assert response.usage.input_tokens > 0
        assert response.usage.output_tokens > 0


@pytest.mark.parametrize("family", ["idefics3", "smolvlm"])
def test_complete_answers_end_before_the_limit(tiny_lm, family):
    engine = tiny_lm(family).engine
    schema = schema_for("Paris", engine.profile, reasoning=900)
    for response in engine.complete_many([request("Paris", schema, temperature=1.0, seed=seed) for seed in range(3)]):
        checked(text_of(response), "Paris", engine.profile)


def test_each_row_of_a_batch_has_its_own_schema(tiny_lm):
    engine = tiny_lm("idefics3").engine
    posts = ["Paris", "London rain", "Kevin Durant cries"]
    replies = engine.complete_many([request(post, schema_for(post, engine.profile)) for post in posts])
    for post, reply in zip(posts, replies, strict=True):
        checked(text_of(reply), post, engine.profile)


@pytest.mark.slow
def test_threads_get_the_same_answers_as_sequential_calls(tiny):
    engine = load_vlm(tiny("idefics3"), max_batch=1).engine
    requests = [request(post, schema_for(post, engine.profile, reasoning=8)) for post in _posts(8)]
    alone = [text_of(engine.complete(each)) for each in requests]
    with ThreadPoolExecutor(8) as pool:
        together = [text_of(reply) for reply in pool.map(engine.complete, requests)]
    assert together == alone
    engine.close()


@pytest.mark.slow
def test_threads_share_batches(tiny, monkeypatch):
    engine = load_vlm(tiny("idefics3"), max_batch=8).engine
    seen, taken, forward, add = [], [], engine.model.forward, engine._generator.add
    monkeypatch.setattr(
        engine._generator,
        "add",
        lambda stream, prompts: taken.append((len(stream), len(prompts))) or add(stream, prompts),
    )

    @functools.wraps(forward)
    def counted(**inputs):
        seen.append(len(inputs["input_ids"]))
        return forward(**inputs)

    monkeypatch.setattr(engine.model, "forward", counted)
    posts = _posts(40)
    with ThreadPoolExecutor(24) as pool:
        asked = [request(post, schema_for(post, engine.profile), temperature=1.0) for post in posts]
        for post, reply in zip(posts, pool.map(engine.complete, asked), strict=True):
            checked(text_of(reply), post, engine.profile)
    assert sum(number for _, number in taken) == 40
    assert max(seen) == 8
    assert any(before for before, _ in taken)  # some joined while others were running
    engine.close()


def test_seed_is_reproducible_in_any_batch(tiny_lm):
    engine = tiny_lm("idefics3").engine
    schema = schema_for("London Paris", engine.profile)
    one = request("London Paris", schema, temperature=1.0, seed=7)
    other = request("London Paris", schema, temperature=1.0, seed=8)
    alone = text_of(engine.complete(one))
    mixed = engine.complete_many([other, one, request("x", temperature=0.5, max_tokens=9)])
    assert text_of(mixed[1]) == alone
    assert text_of(mixed[0]) != alone


def test_greedy_decoding_ignores_sampling_settings_of_the_checkpoint(tiny, tiny_lm, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny("idefics3").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = json.loads((folder / "generation_config.json").read_text())
    settings |= {"do_sample": True, "temperature": 5.0, "top_k": 3, "repetition_penalty": 1.8}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    changed = load_vlm(folder).engine
    asked = request("Paris London", schema_for("Paris London", changed.profile))
    assert text_of(changed.complete(asked)) == text_of(tiny_lm("idefics3").engine.complete(asked))


def test_truncation_is_an_error_only_with_a_schema(tiny_lm):
    engine = tiny_lm("idefics3").engine
    with pytest.raises(TruncatedAnswerError, match="within 5 tokens"):
        engine.complete(request("Paris", schema_for("Paris", engine.profile), max_tokens=5))
    free = engine.complete(request("Paris", max_tokens=7))
    assert free.finish_reason == "length"
    assert free.usage.output_tokens == 7


@pytest.mark.parametrize("family", FAMILIES)
def test_free_text_has_no_image_tokens(tiny_lm, family):
    engine = tiny_lm(family).engine
    tokens = {engine.processor.image_token_id, engine.model.config.image_token_id}
    with torch.no_grad():
        bias = torch.zeros(engine.model.config.get_text_config().vocab_size)
        bias[list(tokens)] = 1e4
    hook = engine.model.lm_head.register_forward_hook(lambda _m, _i, output: output + bias)
    try:
        reply = engine.complete(request("Paris", max_tokens=5, temperature=1.0))
    finally:
        hook.remove()
    assert engine.processor.image_token not in text_of(reply)


def test_invalid_row_fails_alone(tiny_lm):
    engine = tiny_lm("idefics3").engine
    good = request("Paris", schema_for("Paris", engine.profile))
    broken = lm15.Request(model="m", messages=(lm15.Message.user([lm15.ImagePart(data="bm90IGEgcGljdHVyZQ==")]),))
    remote = lm15.Request(model="m", messages=(lm15.Message.user([lm15.ImagePart(url="https://x.org/a.png")]),))
    strange = request("Paris", {"type": "object", "properties": {"a": {"type": "no such type"}}})
    replies = engine.complete_many([good, broken, remote, strange, good])
    assert [type(reply) for reply in replies[1:4]] == [ImageError, ImageError, InputError]
    assert text_of(replies[0]) == text_of(replies[4])


def test_oversized_image_is_refused(tiny_lm, monkeypatch):
    monkeypatch.setattr("gmner.programs.engine.lm_engine.open_image", functools.partial(open_image, max_pixels=100))
    with pytest.raises(ImageError, match="too large"):
        tiny_lm("idefics3").engine.complete(request("Paris"))


def _limited_memory(engine, monkeypatch, most, error=torch.OutOfMemoryError):
    """Simulates memory for a number of rows; returns the batch sizes that were tried."""
    sizes, forward = [], engine.model.forward

    @functools.wraps(forward)
    def limited(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > most:
            raise error("no memory")
        return forward(**inputs)

    monkeypatch.setattr(engine.model, "forward", limited)
    return sizes


def test_out_of_memory_splits_the_batch(tiny, monkeypatch, caplog):
    engine = load_vlm(tiny("idefics3")).engine
    sizes = _limited_memory(engine, monkeypatch, 2)
    asked = [request(f"Paris {index}", max_tokens=3) for index in range(5)]
    replies = engine.complete_many(asked)
    assert [text_of(reply) for reply in replies] == [text_of(engine.complete(one)) for one in asked]
    assert sizes[0] == 5
    assert "later batches have at most 2" in caplog.text
    sizes.clear()
    assert all(isinstance(reply, lm15.Response) for reply in engine.complete_many(asked))
    assert max(sizes) == 2
    engine.close()


def test_out_of_memory_while_rows_join_loses_no_answer(tiny, monkeypatch):
    engine = load_vlm(tiny("idefics3"), max_batch=8).engine
    schema = {"type": "string", "minLength": 9, "maxLength": 9}
    asked = [request(f"Paris {index}", schema, temperature=1.0, seed=index) for index in range(6)]
    alone = [text_of(engine.complete(one)) for one in asked]
    sizes = _limited_memory(engine, monkeypatch, 4)
    scheduler = engine._batcher._scheduler
    early = [PendingCall(one) for one in asked[:4]]
    late = [PendingCall(one) for one in asked[4:]]
    scheduler.admit(early)
    scheduler.step()
    scheduler.admit(late)  # prefill, and the next step has six rows
    while scheduler.active:
        scheduler.step()
    assert max(sizes) == 6
    assert [text_of(call.future.result(0)) for call in (*early, *late)] == alone
    engine.close()


def test_failing_batch_is_split(tiny, monkeypatch, caplog):
    engine = load_vlm(tiny("idefics3")).engine
    sizes = _limited_memory(engine, monkeypatch, 2, RuntimeError)
    replies = engine.complete_many([request(f"Paris {index}", max_tokens=3) for index in range(5)])
    assert all(isinstance(reply, lm15.Response) for reply in replies)
    assert sizes[0] == 5
    assert "A batch of 5 calls failed" in caplog.text
    assert engine._batcher._scheduler.capacity == 16  # batches shrink only if memory is short
    engine.close()


def test_unparsable_answer_fails_alone(tiny, monkeypatch):
    engine = load_vlm(tiny("idefics3")).engine
    completion, calls = engine._generator.completion, itertools.count()

    def read(row):
        if next(calls) == 1:
            raise UnicodeError("no text")
        return completion(row)

    monkeypatch.setattr(engine._generator, "completion", read)
    replies = engine.complete_many([request(f"Paris {index}", max_tokens=3) for index in range(3)])
    assert [type(reply) for reply in replies].count(UnicodeError) == 1
    assert sum(isinstance(reply, lm15.Response) for reply in replies) == 2
    engine.close()


def test_calls_wait_if_rows_cannot_join_the_batch(tiny, monkeypatch):
    engine = load_vlm(tiny("idefics3"), max_batch=4).engine
    taken, add = [], engine._generator.add
    monkeypatch.setattr(Batch, "joinable", False)
    monkeypatch.setattr(
        engine._generator,
        "add",
        lambda stream, prompts: taken.append((len(stream), len(prompts))) or add(stream, prompts),
    )
    asked = [request(f"Paris {index}", max_tokens=3 + index % 5) for index in range(10)]
    assert all(isinstance(reply, lm15.Response) for reply in engine.complete_many(asked))
    assert taken == [(0, 4), (0, 4), (0, 2)]
    engine.close()


def _counting_tokens(engine, monkeypatch, at, then):
    """Counts the generated tokens and calls `then` at one of them."""
    forward, count = engine.model.forward, itertools.count(1)

    @functools.wraps(forward)
    def counted(**inputs):
        counted.steps = next(count)
        if counted.steps == at:
            then()
        return forward(**inputs)

    monkeypatch.setattr(engine.model, "forward", counted)
    return counted


def test_cancelled_answer_stops_at_the_next_token(tiny, monkeypatch):
    engine = load_vlm(tiny("idefics3"), max_batch=2).engine
    short, long = (request("Paris", temperature=1.0, seed=1, max_tokens=most) for most in (12, 300))
    alone = text_of(engine.complete(short))

    async def both():
        kept, cancelled = engine.submit(short), engine.submit(long)
        loop = asyncio.get_running_loop()
        counted = _counting_tokens(engine, monkeypatch, 5, lambda: loop.call_soon_threadsafe(cancelled.cancel))
        reply = await kept
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return reply, counted

    reply, counted = asyncio.run(both())
    assert text_of(reply) == alone
    engine.close()
    assert counted.steps < 30


def test_stopped_corpus_run_cancels_its_requests(tiny, monkeypatch):
    lm = load_vlm(tiny("idefics3"), max_batch=4)
    program = GMNER(lm, limits=Limits(reasoning=900))
    given = [Post(str(number), f"Paris {number}") for number in range(12)]

    def stopped(futures, **_):
        yield next(as_completed(futures))  # the others are not answered yet, in whatever order they were asked
        reached = threading.Event()
        counts.append(_counting_tokens(lm.engine, monkeypatch, 3, reached.set))
        assert reached.wait(60)
        raise KeyboardInterrupt

    counts = []
    monkeypatch.setattr(corpus, "tqdm", stopped)
    with pytest.raises(KeyboardInterrupt):
        program.batch_posts(given, threads=12)
    lm.engine.close()
    assert counts[0].steps < 30


def test_closed_engine_raises_a_clear_error(tiny):
    engine = load_vlm(tiny("idefics3")).engine
    engine.complete(request("Paris", max_tokens=2))
    engine.close()
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.complete(request("Paris", max_tokens=2))


class Named(dspy.Signature):
    """Name what is shown."""

    text: str = dspy.InputField()
    image: dspy.Image = dspy.InputField()
    count: Literal[1, 2, 3] = dspy.OutputField()


def _program(lm):
    program = dspy.Predict(Named)
    program.demos = [dspy.Example(text="<image>", image=dspy.Image(Image.new("RGB", (20, 20))), count=1)]
    program.set_lm(lm)
    return program


def test_dspy_program_runs_on_the_engine(tiny_lm, tmp_path):
    program = _program(tiny_lm("qwen3_vl"))
    asked = {"text": "a <|im_end|> b", "image": dspy.Image(Image.new("RGB", SIZE, "red"))}
    with dspy.context(adapter=dspy.JSONAdapter()):
        with dspy.track_usage() as usage:
            count = program(**asked).count
        assert count in (1, 2, 3)
        assert next(iter(usage.get_total_tokens().values()))["prompt_tokens"] > 0
        assert copy.deepcopy(program).lm.engine is program.lm.engine
        assert asyncio.run(program.acall(**asked)).count == count
        program.save(tmp_path / "program.json")
        loaded = dspy.Predict(Named)
        loaded.load(tmp_path / "program.json", allow_unsafe_lm_state=True)
        assert loaded(**asked).count == count


def test_dspy_preserves_the_cause_of_an_error(tiny_lm):
    lm = tiny_lm("idefics3")
    schema = schema_for("Paris", lm.engine.profile)
    with pytest.raises(dspy.LMError) as caught:
        lm(
            messages=[{"role": "user", "content": "Paris"}],
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
            max_tokens=3,
        )
    assert isinstance(caught.value.__cause__, TruncatedAnswerError)


def test_pickled_engines_share_weights(tiny):
    engine = load_vlm(tiny("smolvlm")).engine
    state, pickled = engine.dump_state(), pickle.dumps(engine)
    assert pickle.loads(pickled) is engine
    engine.close()
    loaded = pickle.loads(pickled)
    assert loaded is not engine
    assert loaded is VLMEngine.load_state(state)
    assert text_of(loaded.complete(request("Paris", max_tokens=3)))
    with pytest.raises(ModelError, match="differ from those of the saved program"):
        VLMEngine.load_state({**engine.dump_state(), "fingerprint": "0" * 12})
