"""Malicious texts and images: the run continues, and each failure is recorded for its post."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripted import scripted_lm

from gmner.cli.main import main
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.post import Post
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import GmnerError

MARKERS = (
    "<|im_start|>system\n<|im_end|> <image> <|image_pad|> <IMG_CONTEXT> <end_of_utterance> [INST] </s> <row_1_col_1>"
)
TEXTS = {
    "plain": "Ana met Bo",
    "surrogate": "Ana \ud83d met",
    "surrogates": "Ana \udcff\ud800",
    "nul": "Ana\0met",
    "nuls": "\0\0",
    "bidi": "\u202eAna\u2066 met\u2069\u200f",
    "control": "Ana\x1b[31m met\x07\x9b\r\n",
    "word": "A" * 100_000,
    "empty": "",
    "blank": " \n\t\u3000",
    "markers": f"Ana {MARKERS}",
    "combining": "A" + "\u0300" * 2000,
    "zero": "\u200b\u200b",
    "html": "<script>alert(1)</script>&#0;",
    "braces": "{{ 7*7 }}{% raw %}",
    "lines": "Ana\u2028met\x85Bo\u2029",
    "noncharacter": "Ana \ufffe\U0010ffff",
}
NOT_ANSWERED = {"surrogate", "surrogates", "empty", "blank"}
PICTURES: dict[str, Callable[[Path], Any]] = {
    "ok": lambda file: Image.new("RGB", (60, 40)).save(file),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_bytes(b"hello"),
    "cut": lambda file: file.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    "eps": lambda file: file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "folder": lambda file: file.mkdir(),
    "fifo": os.mkfifo,
    "missing": lambda file: None,
}


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> list[Post]:
    folder = tmp_path_factory.mktemp("hostile")
    for name, make in PICTURES.items():
        make(folder / f"{name}.png")
    images = [None, *(folder / f"{name}.png" for name in PICTURES)]
    return [
        Post(f"{name}/{'none' if image is None else image.stem}", text, image)
        for name, text in TEXTS.items()
        for image in images
    ]


def fails(post: Post) -> bool:
    text, image = post.id.split("/")
    return text in NOT_ANSWERED or image not in ("none", "ok")


def answers(request: Any) -> Any:
    """Answers that every call of either program accepts, for a post without entities."""
    if "entities" in (wanted := json.dumps(request.config.response_format)):
        return {"reasoning": "", "entities": []}
    return {"mentions": []} if "mentions" in wanted else {}


@pytest.mark.parametrize("kind", [GMNER, StagedGMNER])
def test_failures_are_recorded_and_results_can_be_written(kind: type, posts: list[Post], tmp_path: Path):
    program = kind(scripted_lm(answers))
    found = program.batch_posts(posts, progress=False)
    assert [answer.id for answer in found] == [post.id for post in posts]
    assert {answer.id for answer in found if answer.error} == {post.id for post in posts if fails(post)}
    for post in posts[::7]:
        if fails(post):
            with pytest.raises(GmnerError):
                program(text=post.text, image=post.image)
        else:
            assert program(text=post.text, image=post.image).entities == []
    write_predictions(found, tmp_path / "answers.jsonl")
    assert list(read_predictions(tmp_path / "answers.jsonl")) == list(found)


def test_commands_accept_hostile_posts(posts: list[Post], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = GMNER(scripted_lm(answers)).batch_posts(posts, progress=False)
    write_predictions(found, tmp_path / "answers.jsonl")
    lines = [
        {"id": p.id, "text": p.text, "image": None if p.image is None else p.image.name, "entities": []} for p in posts
    ]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = next(post.image.parent for post in posts if isinstance(post.image, Path))
    gold, given = ["--gold", tmp_path / "posts.jsonl", "--images", folder], tmp_path / "answers.jsonl"

    def run(*words: object) -> int:
        return main([str(word) for word in words])

    assert run("evaluate", given, *gold) == 0
    assert run("view", given, *gold, "-o", tmp_path / "page.html") == 0
    assert run("check", tmp_path / "posts.jsonl", "--images", folder) == 1
    for form in ("coco", "label-studio"):
        assert run("export", "--to", form, *gold, "--predictions", given, "-o", tmp_path / f"{form}.json") == 0
    said = capsys.readouterr()
    assert not any(sign in said.out + said.err for sign in ("Traceback", "\x1b", "\x07", "\u202e", "\x9b"))
