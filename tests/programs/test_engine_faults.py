"""Failures in the engine: a failing call never affects other calls."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import dspy
import pytest
from dspy import lm15
from engine_requests import request, schema_for, text_of

from gmner.data.post import Post
from gmner.programs.engine.batching import Batcher, PendingCall
from gmner.programs.engine.running import RunningBatch
from gmner.programs.engine.widths import READ_AT_ONCE, alike, grouped
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.errors import EngineError, InputError, TruncatedAnswerError

LIMIT = 7  # token limit of the failing call; the others have a lower one
ERRORS = (RuntimeError, MemoryError, StopIteration, KeyboardInterrupt, SystemExit, GeneratorExit)
STAGES = ("read", "check", "encode", "add", "step", "completion", "reply")


class Panic(BaseException):
    """Like the panic of llguidance, which is not an `Exception`."""


@pytest.fixture
def engine(tiny):
    found = load_vlm(tiny("idefics3"), max_batch=4).engine
    yield found
    found.close()


def failing(engine, monkeypatch, stage, error):
    """Makes a stage fail for the call with `LIMIT` tokens and for all calls processed together with it."""
    scheduler, generator, step = engine._batcher._scheduler, engine._generator, RunningBatch.step

    def poisoned(original, bad):
        def call(*args):
            if bad(*args):
                raise error("scripted")
            return original(*args)

        return call

    def stepped(stream):
        if any(row.limit == LIMIT and not row.ended for row in stream._sampler.rows):
            raise error("scripted")
        return step(stream)

    def has_limit(prompts):
        return any(prompt.max_tokens == LIMIT for prompt in prompts)

    where = {
        "read": (scheduler, "_prompt", lambda question: question.config.max_tokens == LIMIT),
        "check": (generator, "check", lambda prompt: has_limit([prompt])),
        "encode": (generator, "encode", has_limit),
        "add": (generator, "add", lambda stream, prompts: has_limit(prompts)),
        "completion": (generator, "completion", lambda row: row.limit == LIMIT),
        "reply": (scheduler, "_reply", lambda question, prompt, completion: has_limit([prompt])),
    }
    if stage == "step":
        monkeypatch.setattr(RunningBatch, "step", stepped)
    else:
        owner, name, bad = where[stage]
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name), bad))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("error", [*ERRORS, Panic])
def test_failure_of_one_call_does_not_affect_others(engine, monkeypatch, stage, error):
    good = [request(f"Paris {number}", size=None, max_tokens=3) for number in range(3)]
    alone = [text_of(engine.complete(one)) for one in good]
    failing(engine, monkeypatch, stage, error)
    bad = request("Paris bad", size=None, max_tokens=LIMIT)
    refused = request("Paris", {"type": "nonsense"}, size=None)
    replies = engine.complete_many([refused, good[0], bad, good[1], bad, good[2]])
    assert [text_of(replies[place]) for place in (1, 3, 5)] == alone
    assert isinstance(replies[0], InputError)
    for reply in (replies[2], replies[4]):
        known = error if issubclass(error, Exception) and error is not StopIteration else EngineError
        assert isinstance(reply, known)
        assert known is error or isinstance(reply.__cause__, error)
    assert text_of(engine.complete(good[0])) == alone[0]


def test_failure_is_raised_by_the_program(engine, monkeypatch):
    failing(engine, monkeypatch, "read", Panic)
    lm = dspy.LM("local/a", engine=engine, cache=False, max_tokens=LIMIT)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lm, "Paris")
        with pytest.raises(Exception, match="interrupted before the call was answered"):
            asked.result(20)
    # An engine that answers nothing is not the fault of a post, so the run ends.
    with pytest.raises(Exception, match="interrupted before the call was answered"):
        GMNER(lm).batch_posts([Post(str(number), "Paris") for number in range(3)], progress=False)


@pytest.mark.parametrize("error", [StopIteration, SystemExit])
def test_failures_reach_the_event_loop(engine, monkeypatch, error):
    failing(engine, monkeypatch, "read", error)

    async def asked():
        return await asyncio.wait_for(engine.submit(request("Paris", max_tokens=LIMIT)), 20)

    with pytest.raises(EngineError):
        asyncio.run(asked())


@pytest.mark.parametrize("state", ["cancelled", "notified", "running", "done"])
def test_reply_to_a_finished_future_is_ignored(state):
    call = PendingCall("question")
    future: Future = call.future
    if state in ("cancelled", "notified"):
        future.cancel()
    if state in ("notified", "running", "done"):
        future.set_running_or_notify_cancel()
    if state == "done":
        future.set_result("before")
    call.settle("reply")
    call.settle(RuntimeError("late"))
    assert future.cancelled() or not future.done() or future.result() == "before"


def test_failing_callback_does_not_stop_the_worker(engine):
    def interrupt(_):
        raise KeyboardInterrupt

    (future,) = engine._batcher.submit(request("Paris", size=None, max_tokens=2))
    future.add_done_callback(interrupt)
    future.result(20)
    assert isinstance(engine.complete(request("Paris", size=None, max_tokens=2)), lm15.Response)


@pytest.mark.parametrize("name", ["_collect", "_work"])
def test_end_of_the_worker_is_reported_to_every_caller(tiny, monkeypatch, name):
    engine = load_vlm(tiny("idefics3")).engine
    begun = threading.Event()

    def dies(self):
        begun.wait(10)
        raise SystemError("the worker is gone")

    monkeypatch.setattr(Batcher, name, dies)
    waiting = engine._batcher.submit(request("Paris"), request("London"))
    begun.set()
    for future in waiting:
        assert isinstance(future.exception(20), EngineError)
        assert isinstance(future.exception().__cause__, SystemError)
    for _ in range(2):
        with pytest.raises(EngineError, match="the worker is gone"):
            engine.complete(request("Paris"))
    engine.close()


def test_scheduler_is_usable_after_a_failure(engine, monkeypatch):
    scheduler = engine._batcher._scheduler
    monkeypatch.setattr(scheduler, "step", lambda: (_ for _ in ()).throw(SystemError("defect")))
    (future,) = engine._batcher.submit(request("Paris", size=None, max_tokens=2))
    assert isinstance(future.exception(20), SystemError)
    monkeypatch.undo()
    assert isinstance(engine.complete(request("Paris", size=None, max_tokens=2)), lm15.Response)


# Widths


def test_prompts_of_similar_length_share_a_batch():
    assert grouped([100] * 5) == [[0, 1, 2, 3, 4]]
    assert grouped([100, 1500, 110, 105]) == [[0, 3, 2], [1]]
    assert [len(group) for group in grouped([1000] * 10)] == [4, 4, 2]
    assert grouped([3 * READ_AT_ONCE]) == [[0]]
    assert alike(10, 130)
    assert not alike(300, 700)


@pytest.fixture
def forwards(engine, monkeypatch):
    """(rows, width) of every prefill."""
    seen, prefill = [], type(engine.model)._prefill

    def read(model, ids, *args, **more):
        seen.append(tuple(ids.shape))
        return prefill(model, ids, *args, **more)

    monkeypatch.setattr(type(engine.model), "_prefill", read)
    return seen


def long_and_short(short=3):
    """Requests, the first of which is much longer than the others."""
    texts = ["Paris " * 1200, *(f"Paris {number}" for number in range(short))]
    return [request(text, size=None, max_tokens=3 + place) for place, text in enumerate(texts)]


def test_long_prompt_neither_pads_nor_delays_short_ones(engine, forwards, monkeypatch):
    asked = long_and_short()
    alone = [text_of(engine.complete(one)) for one in asked]
    widths = [width for _, width in forwards]
    forwards.clear()
    ended, settle = [], PendingCall.settle
    monkeypatch.setattr(
        PendingCall, "settle", lambda call, reply: ended.append(asked.index(call.question)) or settle(call, reply)
    )
    assert [text_of(reply) for reply in engine.complete_many(asked)] == alone
    assert forwards == [(3, max(widths[1:])), (1, widths[0])]  # short ones first, grouped by length
    assert sum(rows * width for rows, width in forwards) <= 1.1 * sum(widths)
    assert ended == [1, 2, 3, 0]


def test_short_prompt_does_not_wait_for_a_running_long_one(engine, forwards):
    long, short, *_ = long_and_short()
    scheduler, calls = engine._batcher._scheduler, [PendingCall(long), PendingCall(short)]
    scheduler.admit(calls[:1])
    scheduler.step()
    scheduler.admit(calls[1:])
    while not calls[1].future.done():
        scheduler.step()
    assert len(forwards) == 2
    while scheduler.active:
        scheduler.step()
    assert calls[0].future.result(0)


def test_long_prompt_waits_only_for_earlier_ones(engine, forwards):
    long, *short = long_and_short()
    later = [request("London", {"type": "string", "minLength": 40, "maxLength": 40}, None)]
    scheduler, calls = engine._batcher._scheduler, [PendingCall(one) for one in (short[0], long, *later)]
    scheduler.admit(calls[:2])
    scheduler.step()
    scheduler.admit(calls[2:])
    while len(forwards) < 3:
        scheduler.step()
    assert calls[0].future.done()
    assert not calls[2].future.done()
    while scheduler.active:
        scheduler.step()
    assert all(call.future.result(0) for call in calls)


# Context


@pytest.fixture
def narrow(engine, monkeypatch):
    """Sets the context of the engine's model."""
    return lambda size: monkeypatch.setattr(engine.model.config.get_text_config(), "max_position_embeddings", size)


def test_prompt_longer_than_the_context_is_refused(engine, narrow, forwards):
    width = engine.complete(request("Paris", size=None, max_tokens=2)).usage.input_tokens
    forwards.clear()
    narrow(width + 9)
    replies = engine.complete_many([request("Paris", size=None, max_tokens=most) for most in (9, 10, 9)])
    assert [isinstance(reply, lm15.Response) for reply in replies] == [True, False, True]
    with pytest.raises(InputError, match=rf"{width} tokens of prompt and 10 for the answer.*{width + 9} tokens"):
        text_of(replies[1])
    narrow(width - 1)
    forwards.clear()
    with pytest.raises(InputError, match="exceed the model's context"):
        engine.complete(request("Paris", size=None))
    assert not forwards


def test_answer_ends_at_the_context_limit(engine, narrow):
    schema = schema_for("Paris", engine.profile, None, reasoning=900)
    width = engine.complete(request("Paris", schema, None, temperature=1.0, seed=1)).usage.input_tokens
    narrow(width + 512)
    answer = engine.complete_many([request("Paris", schema, None, temperature=1.0, seed=seed) for seed in range(3)])
    assert all(isinstance(one, TruncatedAnswerError) or one.usage.output_tokens <= 512 for one in answer)


def test_corpus_run_records_a_post_that_is_too_long(engine, narrow):
    narrow(1500)
    program = GMNER(dspy.LM("local/a", engine=engine, cache=False, max_tokens=None))
    posts = [Post("long", "Paris " * 900), Post("short", "Paris")]
    long, short = program.batch_posts(posts, progress=False)
    assert long.error["kind"] == "bad_input"
    assert "1500 tokens" in long.error["message"]
    assert short.error is None or "context" not in str(short.error)


# Forks

_FORK = """
import os, sys, multiprocessing, threading, time
from engine_requests import request
from gmner.programs.models.loading import load_vlm
engine = load_vlm(sys.argv[1]).engine
def ask():
    return engine.complete(request("Paris", max_tokens=3)).message.parts[0].text
before = ask()
busy = [threading.Thread(target=engine.complete, args=(request("Paris", max_tokens=120),)) for _ in range(2)]
for thread in busy:
    thread.start()
time.sleep(0.1)
child = os.fork()
if not child:
    os._exit(0 if ask() == before else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert pool.apply(ask) == before
for thread in busy:
    thread.join()
assert ask() == before
print("answered")
"""


@pytest.mark.e2e
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks only where the system has them")
def test_forked_process_can_predict(tiny):
    here = os.path.dirname(os.path.dirname(__file__))
    path = os.pathsep.join([here, *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", _FORK, str(tiny("idefics3"))],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.communicate(timeout=90)[0] == "answered\n"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


class ImmediateScheduler:
    capacity, active = 4, False

    def admit(self, calls):
        for call in calls:
            call.settle(call.question)

    def step(self):
        pass

    def forget(self):
        pass


@pytest.mark.parametrize(("forkable", "paused"), [(False, True), (True, False)])
def test_fork_without_an_engine_raises_a_clear_error(forkable, paused):
    batcher = Batcher(ImmediateScheduler(), 0.0, lambda: forkable)
    assert batcher.submit(1)[0].result(5) == 1
    worker = batcher._worker
    batcher.before_fork()
    batcher._paused = paused
    batcher.after_fork_in_child()
    with pytest.raises(EngineError, match="spawn"):
        batcher.submit(1)
    assert worker is not None


class UnfinishedScheduler(ImmediateScheduler):
    """Admits calls and never finishes some of them."""

    capacity = 1

    def __init__(self):
        self.taken = []

    @property
    def active(self):
        return bool(self.taken)

    def admit(self, calls):
        self.taken += calls

    def step(self):
        time.sleep(0.001)
        self.taken = [call for call in self.taken if not call.future.done()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks only where the system has them")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_calls_from_before_a_fork_raise_in_the_child():
    batcher = Batcher(UnfinishedScheduler(), 0.0)
    futures = [*batcher.submit(1), *batcher.submit(2, 3)]
    child = os.fork()
    if not child:
        status = 1
        try:
            errors = [future.exception(5) for future in futures]
            said = all(isinstance(e, EngineError) and "forked" in str(e) and "again" in str(e) for e in errors)
            status = 0 if said and len(set(map(id, errors))) == 3 else 2
        finally:
            os._exit(status)
    end = time.monotonic() + 20
    while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
        time.sleep(0.01)
    if not done[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done[0]
    assert os.waitstatus_to_exitcode(done[1]) == 0
    assert not any(future.done() for future in futures)
    for future in futures:
        future.cancel()
    batcher.give_up()
