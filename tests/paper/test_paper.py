"""The tables of the paper: data, arms, shared runs, formats, attention, refusals, and every table with a tiny model."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
from scripted import entity, scripted_lm

import gmner
from gmner.data.world.generate import World
from gmner.optimizers.mcr import MCR
from gmner.paper import __main__ as command
from gmner.paper import runs as shared
from gmner.paper.arms import ARMS, BARE, COT, DIRECT, MCR_ARM, NO_CVO, NO_MRSI, SFT, Base, rewarded
from gmner.paper.attention import CASES, FROM, TO, _parts, attention_shares
from gmner.paper.data import FINE_TEST, GMNER_TEST, PaperData, Roots, read_data, small_data
from gmner.paper.runs import Runs
from gmner.paper.table import measured
from gmner.paper.tables.one_sided import dominant
from gmner.paper.tables.registry import TABLES
from gmner.programs.gmner import GMNER
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError, ModelError, RunDirectoryError
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
    with pytest.raises(RunDirectoryError, match=r"other arguments.*preset"):
        Runs(tmp_path, data, Base("default", small=True))


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
