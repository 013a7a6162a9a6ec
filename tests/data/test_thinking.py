"""The thinking of an answer in files, tables and pages."""

from dataclasses import replace
from pathlib import Path

import pytest

from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.pages.answers_page import render_html
from gmner.data.pages.notebook import entity_html, predictions_html
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.scoring.evaluate import evaluate
from gmner.data.table import to_dataset
from gmner.signatures.errors import DataError

PLAIN = Prediction("1", "Ana met Bo", "Ana is named.")
THOUGHT = replace(PLAIN, thinking="Who is <b>Ana</b>?")
BLOCK = '<details><summary>thinking</summary><div dir="auto">Who is &lt;b&gt;Ana&lt;/b&gt;?</div></details>'


def test_files_keep_thinking(tmp_path: Path):
    write_predictions([THOUGHT, replace(PLAIN, id="2")], tmp_path / "answers.jsonl")
    assert list(read_predictions(tmp_path / "answers.jsonl")) == [THOUGHT, replace(PLAIN, id="2")]
    assert "thinking" not in PLAIN.to_record()  # the files of models that do not think are as before
    with pytest.raises(DataError, match="`thinking` must be a string"):
        Prediction.from_record({**PLAIN.to_record(), "thinking": None})


def test_tables_keep_thinking():
    pytest.importorskip("datasets")
    table = to_dataset(Predictions([THOUGHT, replace(PLAIN, id="2")]))
    assert table["thinking"][:] == ["Who is <b>Ana</b>?", ""]
    assert [Prediction.from_record(row) for row in table] == [THOUGHT, replace(PLAIN, id="2")]
    assert "thinking" not in to_dataset(Predictions([PLAIN])).column_names


def test_pages_show_thinking_folded():
    post = Post("1", PLAIN.text, entities=())
    assert BLOCK in render_html([(post, {"system": THOUGHT})], title="t")
    assert BLOCK in predictions_html([THOUGHT], [post])
    assert BLOCK in entity_html(PLAIN.text, None, (), thinking=THOUGHT.thinking)
    assert "thinking" not in render_html([(post, {"system": PLAIN})], title="t")


def test_evaluation_takes_answers_with_and_without_thinking():
    class Answer:
        reasoning, entities = "", ()

    posts = [Post("1", PLAIN.text, entities=())]
    assert evaluate(lambda **_: Answer(), posts).gmner.f1 == evaluate([THOUGHT], posts).gmner.f1
