"""`gmner evaluate`: scores of predictions in every format and with every protocol."""

import json
from pathlib import Path

import pytest
from command_line import fails, run

from gmner.data.jsonl import write_predictions
from gmner.data.prediction import Prediction
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.data.scoring.protocols import PROTOCOLS
from gmner.signatures.mentions import GroundedEntity


def test_evaluate_prints_json_and_reports_missing_predictions(
    gold: Path, half: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("evaluate", half, "--gold", gold, "--json") == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    for task in ("gmner", "mner", "eeg"):
        assert record[task]["precision"] == 100
        assert record[task]["recall"] == 50
        assert record[task]["f1"] == pytest.approx(66.67, abs=0.01)
    assert "bias" in record
    assert "Posts without a prediction, scored as empty (1): b\n" in said.err
    assert "Predictions for unknown posts, ignored (1): z\n" in said.err


def test_evaluate_prints_a_table(gold: Path, half: Path, capsys: pytest.CaptureFixture[str]):
    assert run("evaluate", half, "--gold", gold) == 0
    assert "GMNER" in capsys.readouterr().out


def test_gold_spans_without_boxes_score_as_published(
    twitter_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    posts = read_twitter_gmner(twitter_root, "dev")
    answers = [
        Prediction(post.id, post.text, "", tuple(GroundedEntity(e.span, *e.key, e.type) for e in post.gold))
        for post in posts
    ]
    write_predictions(answers, tmp_path / "pred.jsonl")
    assert run("evaluate", "--gold", twitter_root, "--split", "dev", tmp_path / "pred.jsonl", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["gmner"]["f1"] == pytest.approx(59.55, abs=0.005)
    assert record["mner"]["f1"] == 100


def test_evaluate_with_all_protocols_and_another_system(
    gold: Path, half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    ana = GroundedEntity("Ana", 0, 3, "PER")
    write_predictions([Prediction(id_, "Ana", "", (ana,)) for id_ in "ab"], tmp_path / "full.jsonl")
    words = ("evaluate", tmp_path / "full.jsonl", "--gold", gold, "--protocol", "all", "--against", half)
    assert run(*words, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["gmner"]["f1"] == 100
    assert list(record["protocols"]) == list(PROTOCOLS)
    assert {tasks["mner"]["f1"] for tasks in record["protocols"].values()} == {100.0}
    assert record["comparison"]["tasks"]["gmner"]["difference"] == pytest.approx(100 - 200 / 3)
    assert record["scenarios"]["strict"]["f1"] == 100
    assert run(*words) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in (*PROTOCOLS, "paired", "ent_type"))


def test_evaluate_reads_triples(gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "answers.txt").write_text("Ana|PER|None\nAna|ORG|[1,2,3,4]\n")
    assert run("evaluate", tmp_path / "answers.txt", "--gold", gold, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["gmner"]["f1"], record["eeg"]["f1"], record["bias"]["grounded_absent"]) == (50, 50, 1)
    (tmp_path / "answers.txt").write_text("Ana|PER|None\n")
    assert "has 1 lines for 2 posts" in fails(capsys, "evaluate", tmp_path / "answers.txt", "--gold", gold)


def test_evaluate_reads_other_data_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sentence = {"sent_id": 3, "sent": "a dog"}
    ref = {"ref_id": 1, "ann_id": [-1], "image_id": 5, "split": "val", "no_target": True, "sentences": [sentence]}
    image = {"id": 5, "file_name": "5.jpg", "width": 9, "height": 9}
    rows = {"refs": [{**ref, "file_name": "5_1.jpg"}], "instances": {"annotations": [], "images": [image]}}
    for name, content in rows.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "none.jsonl").write_text("")
    words = (
        "evaluate",
        tmp_path / "none.jsonl",
        "--gold",
        tmp_path / "refs.json",
        "--format",
        "grec",
        "--split",
        "val",
    )
    assert run(*words, "--instances", tmp_path / "instances.json", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_acc"] == 100
    for option, value in (("--against", tmp_path / "none.jsonl"), ("--protocol", "all")):
        message = f"{option} cannot be used with referring expressions"
        assert message in fails(capsys, *words, "--instances", tmp_path / "instances.json", option, value)
    assert "instances.json" in fails(capsys, *words)
    assert "The format grec does not use joiner" in fails(capsys, *words, "--joiner", "")
    line = {"id": 1, "text": ["Ana", "met"], "images": [], "label": ["B-PER", "O"], "url": ""}
    (tmp_path / "mi.txt").write_text(json.dumps(line))
    write_predictions([Prediction("1", "Ana met", "", (GroundedEntity("Ana", 0, 3, "PER"),))], tmp_path / "p.jsonl")
    assert run("evaluate", tmp_path / "p.jsonl", "--gold", tmp_path / "mi.txt", "--format", "mner-mi", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["mner"]["f1"], record["gmner"]["f1"]) == (100, None)
    (tmp_path / "mi.txt").write_text(json.dumps({**line, "label": ["B-MIS", "O"]}))
    write_predictions([Prediction("1", "Ana met", "", (GroundedEntity("Ana", 0, 3, "OTHER"),))], tmp_path / "p.jsonl")
    same_types = ("evaluate", tmp_path / "p.jsonl", "--gold", tmp_path / "mi.txt", "--rename-type", "MIS = OTHER")
    assert run(*same_types, "--format", "mner-mi", "--json") == 0
    assert json.loads(capsys.readouterr().out)["mner"]["f1"] == 100
    with pytest.raises(SystemExit):
        run(*same_types[:-1], "MIS", "--format", "mner-mi")
    assert "'MIS' is not OLD=NEW" in capsys.readouterr().err
    assert "mner-mi" in fails(capsys, "evaluate", tmp_path / "p.jsonl", "--gold", tmp_path / "mi.txt", "--format", "x")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("txt/dev.txt", "IMGID:1\nAna B-PER surplus words\n", "dev.txt:2"),
        ("txt/dev.txt", "Ana\tB-PER\n", "dev.txt:1"),
        ("xml/1.xml", "<annotation><object>", "1.xml"),
    ],
    ids=["columns", "no-id", "xml"],
)
def test_malformed_gold_is_reported(
    tmp_path: Path, half: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
):
    for path, text in {"txt/dev.txt": "IMGID:1\nAna\tB-PER\n", name: content}.items():
        (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / path).write_text(text)
    assert message in fails(capsys, "evaluate", half, "--gold", tmp_path / "root", "--split", "dev")


@pytest.mark.parametrize("split", [[], ["--split", "nope"]], ids=["none", "unknown"])
def test_unknown_split_error_lists_the_splits(
    twitter_root: Path, half: Path, capsys: pytest.CaptureFixture[str], split: list[str]
):
    assert "dev, train" in fails(capsys, "evaluate", half, "--gold", twitter_root, *split)


def test_unknown_protocol_is_reported(gold: Path, half: Path, capsys: pytest.CaptureFixture[str]):
    assert "paper" in fails(capsys, "evaluate", half, "--gold", gold, "--protocol", "nope")
