"""Many posts: order, ids, errors recorded per post, and interrupted runs."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpus_runs import PowerError, named, posts, run, stopping_after
from PIL import Image
from scripted import entity, huge_png, scripted_lm, words_of

from gmner.data.jsonl import read_predictions
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.programs import corpus
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet

ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}

ODD = "Ana\u2028met\x85Bo \U0001f3c0"
"""Signs at which some readers of text files break a line."""


def test_local_engine_gets_long_posts_first(tiny_lm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def answer(program: GMNER, post: Post) -> Prediction:
        asked.append(post.id)
        return Prediction(post.id, post.text, "", ())

    monkeypatch.setattr(corpus, "answer_post", answer)
    (tmp_path / "broken.png").write_text("no picture")
    given = [
        Post("broken", "Ana", tmp_path / "broken.png"),
        Post("short", "Ana met Bo"),
        Post("long", "Ana met Bo " * 90),
        Post("small", "Ana", Image.new("RGB", (60, 60))),
        Post("large", "Ana", Image.new("RGB", (400, 300))),
    ]
    answers = GMNER(tiny_lm("qwen2_5_vl")).batch_posts(given, threads=1, progress=False)
    assert asked == ["long", "large", "small", "short", "broken"]
    assert [prediction.id for prediction in answers] == [post.id for post in given]
    asked.clear()
    GMNER(scripted_lm(named)).batch_posts(given, threads=1, progress=False)
    assert asked == [post.id for post in given]


def test_images_of_a_corpus_are_not_kept_in_the_history():
    program = GMNER(scripted_lm(named))
    program(text="Ana met one")
    assert len(program.model.history) == 1
    program.batch_posts(posts(5), progress=False)
    assert len(program.model.history) == 1


def test_predictions_are_in_the_order_of_the_posts(tmp_path: Path):
    given = posts(40)
    found = run(GMNER(scripted_lm(named)), given, tmp_path / "new" / "out.jsonl", threads=8)
    assert [prediction.id for prediction in found] == [post.id for post in given]
    assert found.posts == tuple(given)
    assert [prediction.reasoning for prediction in found] == [f"Post: {post.text}" for post in given]
    assert read_predictions(tmp_path / "new" / "out.jsonl") == found
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        ".out.jsonl.lock",
        "out.jsonl",
        "out.jsonl.run.json",
    ]


def test_format_of_a_line(tmp_path: Path):
    answer = {"reasoning": "r", "entities": [entity("Ana", [0, 0, 500, 1000])]}
    given = [Post("1", ODD, Image.new("RGB", (80, 60)))]
    run(GMNER(scripted_lm(answer)), given, tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8")) == {
        "id": "1",
        "text": ODD,
        "reasoning": "r",
        "entities": [{"span": "Ana", "start": 0, "end": 3, "type": "PER", "visible": True, "box": [0, 0, 40, 60]}],
        "error": None,
    }


def test_failed_posts_are_recorded_and_the_run_continues(tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    given = [
        Post("good", "Ana"),
        Post("broken", "Ana", tmp_path / "broken.jpg"),
        Post("missing", "Ana", tmp_path / "none.jpg"),
        Post("huge", "Ana", huge_png(tmp_path / "huge.png")),
        Post("empty", " "),
        Post("odd", "Ana?"),
        Post("last", "Ana"),
    ]
    lm = scripted_lm(lambda request: named(request) if "?" not in words_of(request) else "no JSON")
    found = {prediction.id: prediction for prediction in run(GMNER(lm), given, tmp_path / "out.jsonl", threads=4)}
    kinds = {id_: prediction.error and prediction.error["kind"] for id_, prediction in found.items()}
    assert kinds == {
        "good": None,
        "broken": "bad_image",
        "missing": "bad_image",
        "huge": "bad_image",
        "empty": "bad_input",
        "odd": "bad_answer",
        "last": None,
    }
    for id_, message in {"missing": "none.jpg", "broken": "broken.jpg", "huge": "too large"}.items():
        assert message in found[id_].error["message"]
    assert all(not found[id_].entities for id_, kind in kinds.items() if kind)


def test_stopped_run_resumes_after_the_last_saved_prediction(tmp_path: Path):
    given, out = [*posts(), Post("odd", ODD)], tmp_path / "out.jsonl"
    with pytest.raises(Exception, match="the power went"):
        run(GMNER(scripted_lm(stopping_after(4))), given, out)
    assert not out.exists()
    part = tmp_path / "out.jsonl.part"
    part.write_bytes(part.read_bytes()[:-7])  # the kill cut the fourth line

    lm = scripted_lm(named)
    found = run(GMNER(lm), given, out)
    assert [words_of(request) for request in lm.engine.requests] == [f"Post: {post.text}" for post in given[3:]]
    assert [prediction.id for prediction in found] == [post.id for post in given]
    assert read_predictions(out) == found
    assert not part.exists()


KILLED = """
import itertools, sys, time
from pathlib import Path
from corpus_runs import GMNER, named, posts, run
from scripted import scripted_lm

asked, most = itertools.count(1), int(sys.argv[2])

def slowly(request):
    time.sleep(0.004 if next(asked) <= most else 600)
    return named(request)

print("ready", flush=True)
run(GMNER(scripted_lm(slowly)), posts(300), Path(sys.argv[1]), threads=4)
"""


@pytest.mark.e2e
def test_killed_run_neither_loses_nor_repeats_posts(tmp_path: Path):
    out, chosen = tmp_path / "out.jsonl", random.Random(0)
    command = [sys.executable, "-c", KILLED, str(out)]
    lengths = []
    for _ in range(2):  # however late the kills are, two runs of at most ninety posts do not finish
        process = subprocess.Popen([*command, "90"], cwd=Path(__file__).parent, env=ENV, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chosen.uniform(0.02, 0.25))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        part = tmp_path / "out.jsonl.part"
        lengths.append(part.stat().st_size if part.exists() else 0)
    assert not out.exists()
    assert lengths == sorted(lengths)
    assert lengths[-1] > 0
    subprocess.run([*command, "300"], cwd=Path(__file__).parent, env=ENV, check=True, stdout=subprocess.PIPE)
    found = read_predictions(out)
    assert [prediction.id for prediction in found] == [post.id for post in posts(300)]
    assert all(prediction.reasoning == f"Post: {prediction.text}" for prediction in found)


def demonstrated(lm: object) -> GMNER:
    program = GMNER(lm)
    program.answer.demos = [{"text": "Bo", "image": None, "reasoning": "", "entities": []}]
    return program


@pytest.mark.parametrize(
    ("program", "given", "named_in_message"),
    [
        (GMNER(scripted_lm(named, name="b")), posts(), "model"),
        (GMNER(scripted_lm(named), labels=LabelSet.of({"PER": ""})), posts(), "labels"),
        (demonstrated(scripted_lm(named)), posts(), "state"),
        (GMNER(scripted_lm(named)), posts()[1:], "posts"),
    ],
    ids=["model", "labels", "demonstrations", "posts"],
)
def test_stopped_run_with_other_settings_is_refused(
    tmp_path: Path, program: GMNER, given: list[Post], named_in_message: str
):
    with pytest.raises(Exception, match="the power went"):
        run(GMNER(scripted_lm(stopping_after(2))), posts(), tmp_path / "out.jsonl")
    with pytest.raises(InputError, match=f"with other {named_in_message}.*Delete it"):
        run(program, given, tmp_path / "out.jsonl")


def test_unknown_part_file_is_not_touched(tmp_path: Path):
    part = tmp_path / "out.jsonl.part"
    part.write_text("my notes\n")
    with pytest.raises(InputError, match="not the partial output of a stopped run"):
        run(GMNER(scripted_lm(named)), posts(), tmp_path / "out.jsonl")
    assert part.read_text() == "my notes\n"


def test_output_must_not_be_a_folder(tmp_path: Path):
    lm = scripted_lm(named)
    with pytest.raises(InputError, match=r"is a folder.*file"):
        run(GMNER(lm), posts(), tmp_path)
    assert lm.engine.requests == []
    assert not tmp_path.with_name(tmp_path.name + ".part").exists()


def test_ids_must_be_unique(tmp_path: Path):
    with pytest.raises(InputError, match=r"have the same id.*'1'"):
        run(GMNER(scripted_lm(named)), [Post("1", "a"), Post("1", "b")], tmp_path / "out.jsonl")


@pytest.mark.parametrize("error", [ValueError, RuntimeError, RecursionError, OverflowError, PowerError])
def test_unexpected_error_of_one_post_is_recorded(tmp_path: Path, error: type[Exception]):
    def answer(request: object) -> dict:
        if "odd" in words_of(request):
            raise error("not foreseen\x1b[2J")
        return named(request)

    given = [Post("1", "Ana odd"), Post("2", "Ana")]
    found = run(GMNER(scripted_lm(answer)), given, tmp_path / "out.jsonl")
    assert [prediction.error is None for prediction in found] == [False, True]
    assert "not foreseen" in found[0].error["message"]
    assert read_predictions(tmp_path / "out.jsonl") == found


def test_unusual_texts_are_processed_or_recorded(tmp_path: Path):
    texts = ["Ana \ud83d", "Ana \udc00\ud83d", "Ana\x00", "Ana \x1b[2J", "Ana \u202e", "\ufeffAna", "Ana\uffff"]
    given = [Post(f"{text}{number}", text) for number, text in enumerate(texts)]
    lm = scripted_lm(lambda _: {"reasoning": "\ud83d", "entities": []})
    found = run(GMNER(lm), given, tmp_path / "out.jsonl", threads=4)
    assert [prediction.error and prediction.error["kind"] for prediction in found] == ["bad_input"] * 2 + [None] * 5
    assert read_predictions(tmp_path / "out.jsonl") == found
    assert [prediction.id for prediction in found] == [post.id for post in given]
