"""The photographs of other packages: posts and boxes, packages that are missing, and files that differ."""

import os
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import fails, run

import gmner
from gmner.data.images.opening import open_image
from gmner.data.readers import real_photos as module
from gmner.data.readers.box_checks import box_oddities
from gmner.data.readers.real_photos import PHOTOS, real_photos
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.labels import COARSE

INSTALLED = all(find_spec(photo.module) for photo in PHOTOS.values())
needs_photographs = pytest.mark.skipif(not INSTALLED, reason="needs scikit-image and scikit-learn")
SIZES = {
    "astronaut": (512, 512),
    "rocket": (640, 427),
    "coffee": (600, 400),
    "chelsea": (451, 300),
    "china": (640, 427),
}


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that stand in for the photographs, of the same sizes."""
    from PIL import Image

    for name, photo in PHOTOS.items():
        path = tmp_path / os.path.basename(photo.path)
        Image.new("RGB", SIZES[name], "red").save(path)
        monkeypatch.setitem(PHOTOS, name, replace(photo, sha256=module.hashlib.sha256(path.read_bytes()).hexdigest()))
    return tmp_path


def test_posts_and_boxes(copies: Path):
    posts = real_photos(copies)
    assert len({post.id for post in posts}) == len(posts)
    assert min(Counter(post.id.split("-")[0] for post in posts).values()) >= 3
    assert {"shown", "absent", "lookalike", "mixed", "empty"} == {post.slice for post in posts}
    for post in posts:
        assert all(post.text.count(entity.span) == 1 for entity in post.gold)
        assert [entity.start for entity in post.gold] == sorted(entity.start for entity in post.gold)
        shown = {entity.visible for entity in post.gold}
        expected = {"shown": {True}, "mixed": {True, False}, "empty": set()}
        assert shown == expected.get(post.slice, {False}), post.id
        assert box_oddities(post, post.id) == []
    assert gmner.check_posts(posts, COARSE).faults == ()


@needs_photographs
def test_the_installed_photographs():
    posts = real_photos()
    assert {post.id.split("-")[0]: open_image(post.image).size for post in posts} == SIZES
    assert [oddity for post in posts for oddity in box_oddities(post, post.id)] == []
    assert gmner.read_dataset("real-photos") == posts


@pytest.mark.slow
@needs_photographs
def test_a_model_answers_them(tiny):
    program = gmner.GMNER(lm=gmner.load_vlm(tiny("idefics3"), cache=False))
    answers = program.batch_posts(real_photos()[::4])
    assert [answer.error for answer in answers] == [None] * 5


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"astronaut.png belongs to scikit-image.*not installed.*gmner\[photos\]"):
        real_photos()


def test_a_missing_photograph_is_named(copies: Path):
    (copies / "china.jpg").unlink()
    with pytest.raises(InputError, match=r"scikit-learn was not found.*china.jpg.*datasets/images/china.jpg"):
        real_photos(copies)
    with pytest.raises(InputError, match="image folder does not exist"):
        real_photos(copies / "nowhere")


def test_another_photograph_is_refused(copies: Path):
    (copies / "rocket.jpg").write_bytes(b"another")
    with pytest.raises(DataError, match=r"rocket.jpg: not the photograph.*scikit-image"):
        real_photos(copies)


def test_the_name_stands_for_the_posts(copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    posts = gmner.read_dataset("real-photos", images=copies)
    assert posts == real_photos(copies) == gmner.read_dataset("real-photos", images=copies, format="real-photos")
    assert run("check", "real-photos", "--images", copies) == 0
    assert f"{len(posts)} posts, no oddities" in capsys.readouterr().out
    answers, page = tmp_path / "answers.jsonl", tmp_path / "page.html"
    gmner.write_predictions([gmner.Prediction(post.id, post.text) for post in posts], answers)
    assert run("view", answers, "--gold", "real-photos", "--images", copies, "-o", page) == 0
    assert "Kunming Lake" in page.read_text(encoding="utf-8")
    capsys.readouterr()
    said = fails(capsys, "check", "real-photos", "--images", copies, "--format", "jsonl")
    assert "File or folder not found (got 'real-photos')" in said
    assert "a JSONL file, a data set folder, or real-photos" in fails(capsys, "check", "twitter")


def test_a_file_of_that_name_is_read_as_a_file(copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("real-photos").write_text('{"id": "1", "text": "Ana"}\n', encoding="utf-8")
    assert [post.text for post in gmner.read_dataset("real-photos")] == ["Ana"]
