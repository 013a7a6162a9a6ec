"""`gmner extract --server`: a model on a server."""

import asyncio
import json
from pathlib import Path

import dspy
import pytest
from openai_server import Body, Reply, answered_by, completion, serving

from gmner.cli.main import main
from gmner.data.jsonl import read_predictions
from gmner.data.world.generate import World
from gmner.programs.bundle import load
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import ModelProfile, profile_for_name
from gmner.programs.models.loading import load_vlm
from gmner.programs.served import served_lm
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import ModelError

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("socket_enabled")]
NAMED = {"m": "Qwen3-VL"}
SAID = '{"reasoning":"","entities":[{"span":"Ana","type":"PER","visible":false,"box":null}]}'


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    (tmp_path / "posts.jsonl").write_text('{"id":"a","text":"Ana met Ben"}\n{"id":"b","text":"Ana"}\n')
    return tmp_path / "posts.jsonl"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")


def extract(posts: Path, *words: object) -> int:
    return main(["extract", str(posts), "-o", str(posts.parent / "out.jsonl"), *map(str, words)])


def test_only_model_of_a_server_is_used(posts: Path, capsys: pytest.CaptureFixture[str]):
    with serving(lambda _: (200, {}, completion(SAID, "m")), {"mine": "Qwen/Qwen2.5-VL-7B-Instruct"}) as (base, bodies):
        assert extract(posts, "--server", base) == 0
    answers = read_predictions(posts.parent / "out.jsonl")
    assert [[(e.span, e.box) for e in answer.entities] for answer in answers] == [[("Ana", None)]] * 2
    assert {(body["model"], body["temperature"]) for body in bodies} == {("mine", 0.0)}
    said = capsys.readouterr().err
    assert "Using model mine at " in said
    assert "pixels of the picture" in said  # the family is inferred from the underlying model
    assert "synthetic world" not in said


def test_empty_run_and_unreachable_server_exit_with_1(
    posts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gmner.programs.server_lm.ended_within", lambda _: False)
    refusal = completion(SAID, "m")
    refusal["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "no"}
    with serving(lambda _: (200, {}, refusal), {"mine": "Qwen3-VL"}) as (base, _):
        assert extract(posts, "--server", base) == 1
    assert "2 posts failed: bad_answer 2" in capsys.readouterr().err
    with serving(lambda _: (500, {}, {"error": {"message": "boom\x1b[2J\nAll is well"}}), {"mine": "Qwen3-VL"}) as (
        base,
        _,
    ):
        (posts.parent / "out.jsonl").unlink()
        assert extract(posts, "--server", base) == 1
    *_, retried, last = capsys.readouterr().err.strip().splitlines()
    assert "The server returned status 500 (attempt " in retried
    assert "of 4); retrying in" in retried
    assert last.startswith("gmner: The run stopped")
    assert last.endswith("run the same command again to resume.")
    assert "\x1b" not in last + retried
    with serving(lambda _: (200, {}, completion(SAID, "m")), {"mine": "Qwen3-VL"}) as (base, _):
        assert extract(posts, "--server", base) == 0
    assert all(not answer.error for answer in read_predictions(posts.parent / "out.jsonl"))


def test_failed_posts_are_counted(posts: Path, capsys: pytest.CaptureFixture[str]):
    def answer(body: Body) -> Reply:
        bad = "Ben" in str(body["messages"][-1])
        return (400, {}, {"error": {"message": "policy"}}) if bad else (200, {}, completion(SAID, "m"))

    # The short test text has other words.
    posts.write_text('{"id":"a","text":"Ana met Ben Odd"}\n{"id":"b","text":"Ana"}\n')
    with serving(
        lambda body: answer(body) if "Odd" in str(body) else (200, {}, completion(SAID, "m")), {"m": "Qwen3-VL"}
    ) as (
        base,
        _,
    ):
        assert extract(posts, "--server", base) == 0
    assert "1 post failed: server_error 1" in capsys.readouterr().err


def test_retries_are_logged_with_asyncio(caplog: pytest.LogCaptureFixture):
    replies = iter([(429, {"Retry-After": "0"}, {"error": {"message": "slow"}}), (200, {}, completion(SAID, "m"))])
    with serving(lambda _: next(replies), {"mine": "Qwen3-VL"}) as (base, bodies):
        lm, profile = served_lm(base, num_retries=1)
        answer = asyncio.run(GMNER(lm, profile=profile).acall(text="Ana"))
    assert ([e.span for e in answer.entities], len(bodies)) == (["Ana"], 2)
    assert "The server returned status 429 (attempt 1 of 2); retrying in 0 s" in caplog.text


def test_bundle_with_a_server(posts: Path):
    lm, shown = load_vlm(cache=False), World().posts("dev", 2)
    program = GMNER(lm)
    program.save(posts.parent / "bundle")
    lines = [{"id": post.id, "text": post.text, "image": f"{post.id}.png"} for post in shown]
    posts.write_text("\n".join(map(json.dumps, lines)))
    for post in shown:
        post.image.save(posts.parent / f"{post.id}.png")
    with serving(answered_by(lm.engine), {"one": "/w", "two": "/w"}) as (base, bodies):
        words = ("--server", base, "--served", "two", "--model", posts.parent / "bundle")
        assert extract(posts, *words, "--images", posts.parent) == 0
    assert {body["model"] for body in bodies} == {"two"}
    found = {answer.id: answer for answer in read_predictions(posts.parent / "out.jsonl")}
    for post in shown:
        expected = program(text=post.text, image=post.image).entities
        assert [(e.key, e.box) for e in found[post.id].entities] == [(e.key, e.box) for e in expected]


def test_labels_with_a_server(posts: Path, capsys: pytest.CaptureFixture[str]):
    with serving(lambda _: (200, {}, completion(SAID, "m")), {"mine": "Qwen3-VL"}) as (base, bodies):
        assert extract(posts, "--server", base, "--labels", "PER,TEAM") == 0
        asked = len(bodies)
        assert all("TEAM" in json.dumps(body) and "LOC" not in json.dumps(body) for body in bodies)
        GMNER(load_vlm(cache=False)).save(posts.parent / "bundle")
        capsys.readouterr()
        words = ("--server", base, "--model", posts.parent / "bundle", "--overwrite", "--labels", "PER")
        assert extract(posts, *words) == 2
    assert "Remove --labels" in capsys.readouterr().err
    assert len(bodies) == asked


def test_family_is_inferred_from_the_served_or_the_underlying_name():
    models = {"a": "", "b": "/data/Qwen3-VL-8B-mcr", "qwen2.5-vl": "/data/Qwen3-VL-8B-mcr"}
    with serving(lambda _: (200, {}, ""), models) as (base, _):
        with pytest.raises(ModelError, match="family of the model is unknown"):
            served_lm(base, "a")
        given = {"box_format": {"frame": "normalized", "scale": 100}}
        assert served_lm(base, "a", profile=given)[1] == ModelProfile(BoxFormat("normalized", 100))
        assert served_lm(base, "qwen2.5-vl")[1] == profile_for_name("Qwen3-VL")  # the weights count more than the name
        assert served_lm(base, "b")[1] == profile_for_name("Qwen3-VL")
        lm, _ = served_lm(base, "b", temperature=0.3)
    assert (lm.model, lm.kwargs["temperature"]) == ("openai/b", 0.3)


def test_bundle_keeps_its_convention_unless_the_served_name_differs(tmp_path: Path):
    lm = load_vlm(cache=False)
    GMNER(lm).save(tmp_path / "bundle")
    profiles = {
        name: load(tmp_path / "bundle", lm=dspy.LM(f"openai/{name}", api_key="key")).adapter().profile
        for name in ("mine", "Qwen2.5-VL-7B-Instruct")
    }
    assert profiles["mine"] == lm.engine.profile
    assert profiles["Qwen2.5-VL-7B-Instruct"] == profile_for_name("Qwen2.5-VL")
    assert load(tmp_path / "bundle").profile is None  # inferred from the weights


def test_unsuitable_server_is_reported_before_posts_are_read(posts: Path, capsys: pytest.CaptureFixture[str]):
    def refused(*words: object) -> str:
        assert extract(posts, *words) == 2
        assert not (posts.parent / "out.jsonl").exists()
        return capsys.readouterr().err

    with serving(lambda _: (200, {}, ""), {"one": "", "two": ""}) as (base, bodies):
        assert "exactly one model (got 'one, two')" in refused("--server", base)
        assert "no model of this name (got 'three'). Accepted: one, two" in refused(
            "--server", base, "--served", "three"
        )
        GMNER(load_vlm(cache=False)).save(posts.parent / "bundle")
        words = ("--server", base, "--served", "one", "--model", posts.parent / "bundle", "--staged")
        assert "a bundle, which stores its own program" in refused(*words)
        assert "--model must be a bundle" in refused("--server", base, "--served", "one", "--model", "Qwen/Qwen2-VL-2B")
    assert bodies == []
    assert "did not return its models" in refused("--server", base)  # the server is no longer running
    with serving(lambda _: (200, {}, "")) as (base, _), pytest.raises(ModelError, match="did not return its models"):
        served_lm(base)
    assert "Add --server" in refused("--served", "one")
