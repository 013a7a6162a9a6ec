"""The tables of the paper: data, arms, shared runs, formats, attention, refusals, and every table with a tiny model."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
import torch
from PIL import Image
from scripted import entity, scripted_lm

import gmner
from gmner.data.world.generate import World
from gmner.optimizers.mcr import MCR
from gmner.paper import __main__ as command
from gmner.paper import arms
from gmner.paper import runs as shared
from gmner.paper.arms import ARMS, BARE, COT, DIRECT, MCR_ARM, NO_CVO, NO_MRSI, SFT, Base, rewarded
from gmner.paper.attention import CASES, FROM, TO, AttentionShares, _parts, attention_shares
from gmner.paper.data import FINE_TEST, GMNER_TEST, PaperData, Roots, read_data, small_data
from gmner.paper.runs import Runs
from gmner.paper.table import Row, measured, to_markdown, to_record
from gmner.paper.tables import attention
from gmner.paper.tables.one_sided import dominant
from gmner.paper.tables.registry import TABLES
from gmner.programs.gmner import GMNER
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError, ModelError, RunDirectoryError
from gmner.signatures.labels import as_labels
from gmner.signatures.schema import Limits


@pytest.fixture(scope="module")
def data() -> PaperData:
    """The world, with few posts."""
    return small_data(train=6, test=4)


def test_small_data_has_the_form_of_all_data_sets(data: PaperData):
    assert [sum(post.task == task for post in data.train) for task in ("gmner", "mner", "grec")] == [6, 6, 6]
    assert len({post.id for post in data.train}) == 18
    assert {name: {post.task for post in posts} for name, posts in data.tests.items()} == {
        "GMNER": {"gmner"}, "MNER-MI": {"mner"}, "GREC testA": {"grec"}, "GREC testB": {"grec"}, "FMNERG": {"gmner"},
    }  # fmt: skip
    assert {e.type for post in data.fine_train for e in post.gold} <= {*data.fine_labels}
    assert len(data.fine_labels.names) > 4
    assert list(small_data(train=2, test=2, fine=False).fine_labels) == ["PER", "LOC", "ORG", "OTHER"]
    with pytest.raises(InputError, match=r"test set is missing.*testC"):
        data.test("testC")


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """A few lines in the form of each data set, with one image each."""
    gmner, names, grec = (tmp_path / name for name in ("gmner", "mner-mi", "grec"))
    for folder in (gmner / "txt", gmner / "xml", names / "text", grec):
        folder.mkdir(parents=True)
    for image in (gmner / "images" / "1.jpg", names / "images" / "5_0.jpg", grec / "train2014" / "9.jpg"):
        image.parent.mkdir()
        Image.new("RGB", (40, 40)).save(image)
    line = {"id": 5, "text": ["Oscars"], "images": ["5_0.jpg"], "label": ["B-MIS"], "url": ""}
    for split in ("train", "dev", "test"):
        (gmner / "txt" / f"{split}.txt").write_text("IMGID:1\nAna\tB-PER\n")
        (names / "text" / f"MNER-MI_{split}.txt").write_text(json.dumps(line) + "\n")
    refs = [
        {"ref_id": f"{split}{count}", "ann_id": [*range(count)] or [-1], "image_id": 9, "split": split,
         "file_name": "9_1.jpg", "no_target": not count, "sentences": [{"sent_id": 1, "sent": "the dog"}]}
        for split in ("train", "testA", "testB") for count in (0, 1, 2)
    ]  # fmt: skip
    annotations = [{"id": number, "image_id": 9, "bbox": [1, 1, 9, 9 + number]} for number in range(2)]
    coco = {"images": [{"id": 9, "file_name": "9.jpg", "width": 40, "height": 40}], "annotations": annotations}
    for name, value in {"grefs(unc).json": refs, "instances.json": coco}.items():
        (grec / name).write_text(json.dumps(value))
    return Roots(gmner, mner_mi=names, grec=grec / "grefs(unc).json", instances=grec / "instances.json")


def test_data_sets_are_read_for_one_training(roots: Roots):
    data = read_data(roots)
    assert [(post.task, bool(post.image), len(post.gold[0].boxes)) for post in data.train] == [
        ("gmner", True, 0), ("mner", True, 0), ("grec", True, 0), ("grec", True, 1),
    ]  # fmt: skip
    assert not gmner.check_posts(data.train, tasks=GMNER.tasks).faults
    assert data.test("MNER-MI")[0].gold[0].type == "OTHER"
    assert data.name == "Twitter-GMNER, MNER-MI, GREC"
    assert len(data.dev) == 1


def test_image_folders_can_be_elsewhere(roots: Roots, tmp_path: Path):
    elsewhere = (roots.grec or tmp_path).parent / "train2014"
    elsewhere = elsewhere.rename(tmp_path / "coco")
    with pytest.raises(InputError, match="No image of GREC was found"):
        read_data(roots)
    folders = (tmp_path / "gmner" / "images", tmp_path / "mner-mi" / "images", elsewhere)
    assert all(post.image for post in read_data(replace(roots, images=folders)).train)


def test_data_is_required(tmp_path: Path):
    with pytest.raises(InputError, match="Twitter-GMNER is missing"):
        read_data(Roots(mner_mi=tmp_path))
    with pytest.raises(InputError, match="gRefCOCO requires the boxes of COCO"):
        read_data(Roots(gmner=tmp_path, grec=tmp_path / "grefs(unc).json"))


def test_arms_have_the_settings_of_the_paper():
    base = Base("qwen2.5-vl-7b")
    assert base.mrsi.per_post == 2
    assert not base.mrsi.answers  # chains alone
    assert len(base.mrsi.style_set) == 7
    assert (base.cvo.generations, base.cvo.prompts) == (8, 8)
    assert ARMS[MCR_ARM.start] is NO_CVO
    for arm, stages in ((NO_CVO, "mrsi"), (NO_MRSI, "cvo"), (SFT, "mrsi"), (MCR_ARM, "cvo")):
        assert arm.build is not None
        built = arm.build(base, 3)
        assert [name for name in ("mrsi", "cvo") if getattr(built, name)] == [stages]
        assert built.seed == 3
    mcr: MCR = rewarded(sigma=0.3, count=1.0)(base, 0)
    assert mcr.cvo is not None
    assert mcr.cvo.reward_set.weights == {**gmner.rewards.DEFAULT_WEIGHTS, "count": 1.0}
    assert mcr.cvo.reward_set.to_record()["sigma"] == 0.3
    program = GMNER(scripted_lm({}))
    assert DIRECT.ask(program).limits == Limits(reasoning=0)
    assert BARE.ask(program).answer.signature.instructions.startswith("Find every named entity in the post, give its")
    assert "First reason" not in BARE.ask(program).answer.signature.instructions
    assert "First reason" in program.answer.signature.instructions
    assert [arm.name for arm in command.needed([MCR_ARM, NO_CVO])] == ["w/o CVO", "MCR"]


def test_dominant_modality():
    post = World().post("train", 0)
    shown, absent = (gmner.GoldEntity("a", n, n + 1, "PER", boxes) for n, boxes in ((0, (Box(0, 0, 1, 1),)), (2, ())))
    found = [dominant(replace(post, entities=gold)) for gold in ((shown,), (absent,), (shown, absent), ())]
    assert found == ["image", "text", "balanced", "none"]
    assert dominant(replace(post, entities=(absent,), grounded=False)) == "unknown"


def test_answers_are_shared_by_tables_and_kept(data: PaperData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def answer(_: Any) -> dict[str, Any]:
        asked.append(1)
        return {"reasoning": "", "entities": []}

    monkeypatch.setattr(shared, "load_vlm", lambda model, **_: scripted_lm(answer))
    for _ in range(2):
        with Runs(tmp_path, data, Base(small=True), seeds=(0, 1), progress=False) as runs:
            assert len(runs.answers(COT, 0, GMNER_TEST)) == 4
            assert runs.seeds_of(COT) == (0,)
            assert runs.seeds_of(SFT) == (0, 1)
    assert len(asked) == 4
    other = replace(data, tests={GMNER_TEST: data.tests[GMNER_TEST][:3]})
    with Runs(tmp_path, other, Base(small=True), progress=False) as runs:
        assert len(runs.answers(COT, 0, GMNER_TEST)) == 3
    with Runs(tmp_path, data, Base(small=True), progress=False):
        with pytest.raises(RunDirectoryError, match="is in use by process"):
            Runs(tmp_path, data, Base(small=True), progress=False)
    with pytest.raises(RunDirectoryError, match=r"other arguments.*preset"):
        Runs(tmp_path, data, Base("default", small=True))
    monkeypatch.setattr(arms, "_SMALL_STEPS", (1, 1))
    with pytest.raises(RunDirectoryError, match=r"other arguments.*cvo.max_steps: 6 before, 1 now; mrsi.max_steps"):
        Runs(tmp_path, data, Base(small=True))


def test_a_table_is_written_as_json_and_markdown(
    data: PaperData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(shared, "load_vlm", lambda model, **_: scripted_lm({"reasoning": "", "entities": []}))
    monkeypatch.setattr(command, "small_data", lambda fine: data)
    figures = lambda runs: lambda arm, seed: {"N-Rate": float(len(runs.answers(arm, seed, GMNER_TEST)))}  # noqa: E731
    table = replace(TABLES["bias"], rows=lambda runs: measured(runs, [COT], figures(runs)))
    monkeypatch.setitem(command.TABLES, "bias", table)
    assert command.main(["bias", "--small", "--work", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "| CoT | 4.0 |" in said
    assert "the world (seed 0)" in said
    assert said == (tmp_path / "bias.md").read_text()
    record = json.loads((tmp_path / "bias.json").read_text())
    assert record["rows"][0]["seeds"] == [{"N-Rate": 4.0}]
    assert record["gold"]["GMNER"]["posts"] == 4


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert command.main(["main", "--work", str(tmp_path / "a")]) == 2
    assert "Twitter-GMNER is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["table-13", "--small"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["--small", "--steps", "0", "4"], r"--steps must be at least 1 \(got \[0, 4\]\)"),
        (["--small", "--seeds", "0", "0"], "A seed is given twice"),
        (["--small", "--seeds", "-1"], "A seed must not be negative"),
        (["--small", "--gmner", "x"], "--gmner cannot be used with --small"),
        (["--small", "--mner-mi", "x"], "--mner-mi cannot be used with --small"),
        (["--small", "--preset", "default"], "--preset cannot be used with --small"),
        (["--gmner", "x", "--model", "y", "--instances", "x"], "--instances belongs to --grec"),
        (["--small", "--model", "no-such-model"], "no-such-model"),
    ],
)
def test_nothing_is_written_for_wrong_arguments(
    words: list[str], fact: str, data: PaperData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.setattr(command, "small_data", lambda fine: data)
    assert command.main(["main", *words, "--work", str(tmp_path / "work")]) == 2
    assert re.search(fact, capsys.readouterr().err)
    assert not (tmp_path / "work").exists()
    with pytest.raises(SystemExit):
        command.main(["main", "--small", "--preset", "no-such-preset"])


def test_ctrl_c_and_a_folder_of_something_else(
    data: PaperData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(**_: Any) -> PaperData:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "small_data", lambda fine: data)
    (tmp_path / "train.txt").touch()
    assert command.main(["main", "--small", "--work", str(tmp_path)]) == 2
    assert "The work folder has other files" in capsys.readouterr().err
    assert command.main(["main", "--small", "--work", str(tmp_path / "train.txt")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["train.txt"]
    monkeypatch.setattr(command, "small_data", interrupted)
    assert command.main(["main", "--small", "--work", str(tmp_path / "work")]) == 130
    assert "run the same command again to resume" in capsys.readouterr().err


def test_programs_of_other_posts_are_refused(tmp_path: Path, data: PaperData):
    (tmp_path / shared.COST).write_text(json.dumps({"minutes": 1, "train": "0"}))
    with pytest.raises(RunDirectoryError, match=r"was trained on other posts \(version 0, now"):
        shared._check_posts(tmp_path, data.fine_train)
    (tmp_path / shared.COST).write_text(json.dumps({"minutes": 1}))
    shared._check_posts(tmp_path, data.fine_train)


def test_tokens_are_the_last_count_in_the_log():
    log = [{"step": 5, "num_tokens": 10.0}, {"step": 10, "num_tokens": 30.0}, {"train_runtime": 1.0}]
    assert shared._last({"mrsi": log, "cvo": [{"step": 3}]}, "num_tokens") == {"mrsi": 30}


def test_minutes_before_an_interruption_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    times = iter([0.0, 60.0, 1000.0, 1090.0])
    monkeypatch.setattr(shared.time, "monotonic", lambda: next(times))
    with pytest.raises(KeyboardInterrupt), shared._clock(tmp_path / "minutes.json"):
        raise KeyboardInterrupt
    with shared._clock(tmp_path / "minutes.json"):
        pass
    assert shared._minutes(tmp_path / "minutes.json") == 2.5


def test_counts_are_written_without_decimals_and_small_figures_are_labelled(
    data: PaperData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shared, "load_vlm", lambda model, **_: scripted_lm({}))
    figures: dict[str, float | None] = {"N-Count": 1130, "seconds": 0.123, "none": None}
    table = replace(TABLES["related"], digits=2)
    with Runs(tmp_path, data, Base(small=True, steps=(1, 2)), progress=False) as runs:
        text = to_markdown(table, [Row("CoT", (figures,), "a choice", ({"layers": [1]},))], runs)
        record = to_record(table, [Row("CoT", (figures,), details=({"layers": [1]},))], runs)
    assert "| CoT | 1,130 | 0.12 | - |" in text
    assert "1 steps of SFT or MRSI and 2 of CVO. The figures show that the command works" in text
    assert text.endswith("Ours:\n\n- CoT: a choice.\n")
    assert record["rows"][0]["details"] == [{"layers": [1]}]
    assert "In small" in record["notes"][0]
    with Runs(tmp_path, data, Base(small=True, steps=(1, 2)), progress=False) as runs:
        assert "so that CoT is direct prompting" in to_markdown(TABLES["main"], [], runs)
        assert "so that CoT is direct prompting" not in to_markdown(TABLES["related"], [], runs)
    fine = replace(data, fine_labels=as_labels(["car", "city"]))
    with Runs(tmp_path / "fine", fine, Base(), progress=False) as runs:
        text = to_markdown(TABLES["fmnerg"], [], runs)
    assert "on Twitter-FMNERG, " in text
    assert "\n2 types.\n" in text


def test_parts_of_an_answer():
    box = {"span": "Bo", "type": "PER", "visible": True, "box": [1, 2, 3, 4]}
    answer = json.dumps({"reasoning": "so", "entities": [box, entity("A")]}, separators=(",", ":"))
    chain, parts = _parts(answer)
    assert answer[slice(*chain)] == '"so"'
    assert [[answer[slice(*part[name])] for name in FROM] for part in parts] == [
        ['"Bo"', "true", "[1,2,3,4]"], ['"A"', "false", "null"],
    ]  # fmt: skip
    with pytest.raises(ModelError, match="needs a local model"):
        attention_shares(GMNER(scripted_lm({})), [], [])


def test_the_plot_of_attention_names_its_curves_and_the_layers(
    data: PaperData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def shares(*_: Any, **__: Any) -> AttentionShares:
        found = AttentionShares()
        found.add(CASES[0], {(source, target): torch.tensor([0.1, 0.3]) for source in FROM for target in TO})
        return found

    monkeypatch.setattr(shared, "load_vlm", lambda model, **_: scripted_lm({"reasoning": "", "entities": []}))
    monkeypatch.setattr(attention, "attention_shares", shares)
    monkeypatch.setattr(attention, "_ARMS", (COT,))
    with Runs(tmp_path, data, Base(small=True), progress=False) as runs:
        rows = attention._rows(runs)
    plot = (tmp_path / attention.PLOT).read_text()
    assert plot.count(">layers</text>") == 9
    assert f">CoT: {CASES[0]}</text>" in plot
    assert CASES[1] not in plot
    assert rows[0].details[0]["box to image"] == pytest.approx([10, 30])
    assert rows[0].seeds[0]["box to image"] == pytest.approx(20)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "idefics3"])
def test_attention_of_a_real_architecture(tiny_lm: Callable[[str], dspy.LM], family: str):
    program = GMNER(tiny_lm(family))
    post = next(post for post in World().posts("test", 20) if len({e.visible for e in post.gold}) == 2)
    right = tuple(gmner.GroundedEntity(e.span, e.start, e.end, e.type, (*e.boxes, None)[0]) for e in post.gold)
    boxed = tuple(replace(e, box=e.box or Box(0, 0, 50, 50)) for e in right)
    predictions = [gmner.Prediction(post.id, post.text, "Names: none.", entities) for entities in (right, boxed)]
    shares = attention_shares(program, [post, post], predictions, progress=False)
    assert all(shares.counts[case] for case in CASES)
    assert len(shares.by_layer(CASES[0], "box", "image")) == 2
    for case in CASES:
        for source in FROM:
            values = [shares.mean(case, source, target) or 0 for target in TO]
            assert min(values) > 0
            assert sum(values) < 100
    again = attention_shares(program, [post], predictions[:1], progress=False)
    assert again.mean(CASES[1], "visible", "post") == pytest.approx(shares.mean(CASES[1], "visible", "post"), rel=1e-3)
    assert program.model.engine.model.config.get_text_config()._attn_implementation != "eager"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder that all tables share."""
    return tmp_path_factory.mktemp("paper")


@pytest.mark.nightly
@pytest.mark.parametrize("name", TABLES)
def test_every_table_with_a_tiny_model(
    name: str, work: Path, data: PaperData, tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(command, "small_data", lambda fine: data)
    words = [name, "--small", "--model", str(tiny("qwen2_5_vl")), "--steps", "1", "1", "--work", str(work)]
    assert command.main(words) == 0
    record = json.loads((work / f"{name}.json").read_text())
    assert len(record["rows"]) >= len(TABLES[name].arms)
    assert all(row["seeds"] for row in record["rows"])
    if name == "cost":
        assert all(seed["tokens written a post"] > 0 for row in record["rows"] for seed in row["seeds"])
        assert record["rows"][-1]["seeds"][0]["training, thousand tokens"] > 0
    if name == "attention":
        assert len(record["rows"][0]["details"][0]) == 9
    tests = {FINE_TEST} if name == "fmnerg" else {*TABLES[name].tests}
    assert {*record["gold"]} == tests


@pytest.mark.nightly
def test_dry_run_writes_nothing(
    tmp_path: Path, data: PaperData, tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.setattr(command, "small_data", lambda fine: data)
    words = ["fmnerg", "--small", "--model", str(tiny("qwen2_5_vl")), "--work", str(tmp_path / "work"), "--dry-run"]
    assert command.main([*words, "--seeds", "0", "1"]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line in ARMS] == ["SFT", "w/o CVO", "MCR"]
    assert "all arms, 2 seeds" in said
    assert not (tmp_path / "work").exists()


def test_a_model_is_required(
    data: PaperData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(command, "read_data", lambda roots, fine: data)
    assert command.main(["main", "--gmner", str(tmp_path), "--work", str(tmp_path / "work")]) == 2
    assert "A model is missing" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
