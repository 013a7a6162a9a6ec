"""What the page shows of answers: nothing of a post becomes markup; its settings and its table of types."""

import json
from pathlib import Path

import pytest

from gmner.app.label_table import labels_of_table, table_of
from gmner.app.samples import sample_posts
from gmner.app.settings import choice_of_fields, default_corrections, names_of
from gmner.app.timed_answer import TimedAnswer
from gmner.app.views import answer_view, failure, message
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.programs.choice import ProgramChoice
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GroundedEntity

EVIL = "<script>window.evil=1</script><img src=x onerror=window.evil=1>"


def timed(*entities: GroundedEntity, reasoning: str = "") -> TimedAnswer:
    return TimedAnswer(Prediction("p", EVIL, reasoning, entities), 1.5, 10, 2)


def test_one_answer():
    view = answer_view(Post("p", EVIL), {"small": timed(GroundedEntity("script", 1, 7, "PER"), reasoning=EVIL)})
    assert "1.5 seconds, 10 tokens" in view.status
    assert view.differences == ""
    assert json.loads(view.json)["entities"][0]["span"] == "script"
    assert json.loads(view.json)["reasoning"] == EVIL
    assert "<script" not in view.answers + view.status
    assert "<img" not in view.answers + view.status
    assert "&lt;script&gt;" in view.answers


def test_two_answers():
    one, other = GroundedEntity("script", 1, 7, "PER"), GroundedEntity("script", 1, 7, "LOC")
    view = answer_view(Post("p", EVIL), {f"a{EVIL}": timed(one), "b": timed(other)})
    assert "1 difference, marked with Δ in both answers." in view.differences
    assert "Δ type: LOC in the other answer" in view.answers
    assert "Δ type: PER in the other answer" in view.answers
    assert "<img" not in view.answers + view.status + view.differences
    assert list(json.loads(view.json)) == [f"a{EVIL}", "b"]
    assert "same entities" in answer_view(Post("p", EVIL), {"a": timed(one), "b": timed(one)}).differences


def test_an_error_is_told_in_words_and_nothing_is_compared():
    failed = TimedAnswer(Prediction.failed("p", EVIL, ImageError("The image is broken", received=EVIL)), 0.1)
    view = answer_view(Post("p", EVIL), {"a": failed, "b": timed()})
    assert "<b>Problem.</b> The image is broken" in view.status
    assert "<img" not in view.status
    assert view.differences == ""
    assert 'role="alert"' in view.status
    assert answer_view(Post("p", EVIL), {"a": failed}).answers == ""


def test_lone_surrogates_are_replaced():
    post = Post("p", "Ada \ud83d")
    view = answer_view(post, {"a\ude00": TimedAnswer(Prediction("p", post.text, "\ud83d"), 1.0)})
    for part in (view.status, view.answers, view.json):
        assert part.encode()
    assert json.loads(view.json)["text"] == "Ada \ufffd"


def test_messages_are_escaped():
    assert message(EVIL, about=EVIL).count("&lt;script&gt;") == 2


def test_a_file_that_cannot_be_written_is_told_in_words():
    told = failure(PermissionError(13, "Permission denied", "/data/fixed.jsonl"))
    assert "The corrections cannot be written: Permission denied" in told
    assert "/data/fixed.jsonl" in told
    assert "Errno" not in told


def test_fields_of_the_page():
    start = ProgramChoice("old", profile="p.json", labels=COARSE, limit_pictures=2)
    same = {"model": " old ", "server": "", "served": None, "staged": False, "confidence": True, "votes": 3.0}
    kept = ProgramChoice("old", profile="p.json", labels=COARSE, confidence=True, answers=3, limit_pictures=2)
    assert choice_of_fields(same, start) == kept
    other = choice_of_fields({**same, "model": "new", "staged": True, "votes": 1}, start)
    assert other == ProgramChoice("new", labels=COARSE, staged=True, confidence=True, limit_pictures=2)
    assert choice_of_fields({}, start) == start
    for votes in (0, 1.5, None, "many", float("nan"), float("inf")):
        with pytest.raises(InputError, match="Votes must be an integer"):
            choice_of_fields({**same, "votes": votes}, start)


def test_names_of_programs_are_different():
    embedded, staged = ProgramChoice(), ProgramChoice(staged=True)
    assert names_of([embedded]) == ["embedded model"]
    assert names_of([embedded, ProgramChoice("a/b")]) == ["embedded model", "a/b"]
    assert names_of([embedded, staged]) == ["embedded model", "embedded model, staged"]
    assert names_of([embedded, embedded]) == ["1. embedded model", "2. embedded model"]
    served = ProgramChoice("bundle", server="http://localhost/v1", served="qwen")
    assert served.name == "bundle at qwen"
    assert ProgramChoice(server="http://localhost/v1").name == "http://localhost/v1"


def test_default_place_of_corrections(tmp_path: Path):
    (tmp_path / "posts.jsonl").touch()
    assert default_corrections(tmp_path / "posts.jsonl") == tmp_path / "posts.corrections.jsonl"
    assert default_corrections(tmp_path) == default_corrections(None) == Path("corrections.jsonl")


def test_label_table():
    assert labels_of_table(table_of(COARSE)) == COARSE
    assert labels_of_table([[" TEAM ", None], ["", "no name"], [None, ""], ["DISH"]]) == LabelSet(("TEAM", "DISH"))
    with pytest.raises(InputError):
        labels_of_table([["", ""]])
    with pytest.raises(InputError):
        labels_of_table([["A", ""], ["A ", "x"]])


def test_samples_have_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing() -> None:
        raise InputError("not installed")

    monkeypatch.setattr("gmner.app.samples.real_photos", missing)
    posts = sample_posts(tmp_path)
    assert len(posts) == 5
    assert len({post.slice for post in posts}) == 5
    assert all(isinstance(image, Path) and image.is_file() for post in posts for image in post.images)
    assert all(post.images and post.entities is None for post in posts)
