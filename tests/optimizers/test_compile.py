"""A compile that learns nothing, invalid gold annotations, and runs of an earlier version."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import scripted_lm

from gmner.data.post import Post
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import InputError, RunDirectoryError
from gmner.signatures.mentions import GoldEntity

pytestmark = pytest.mark.e2e

POSTS = [Post(f"p{n}", f"Ana met {n}", None, (GoldEntity("Ana", 0, 3, "PER"),)) for n in range(4)]


@pytest.mark.filterwarnings("ignore::gmner.optimizers.outcome.UnchangedProgramWarning")
def test_compile_that_learns_nothing_warns(program: Callable[[str], GMNER], tmp_path: Path):
    """One step with a learning rate of 0: the weights stay those of the student, whatever the scores are."""
    mrsi = MRSI(max_steps=1, batch=2, rate=0.0, tuning="full")
    optimizer = MCR(mrsi=mrsi, cvo=None, progress=False)
    compiled = program("idefics3").compile(trainset=POSTS, optimizer=optimizer, run_dir=tmp_path / "run")
    assert compiled.history.unchanged == "no weight and no demonstration changed"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["unchanged"] == compiled.history.unchanged


def unfit(post: Post, **change: Any) -> Post:
    return dataclasses.replace(post, id="bad", entities=(dataclasses.replace(post.gold[0], **change),))


@pytest.mark.parametrize(("change", "fact"), [({"type": "XYZ"}, "unknown type"), ({"start": 1, "end": 4}, "is not at")])
@pytest.mark.parametrize("where", ["trainset", "valset"])
def test_gold_of_a_staged_program_is_checked_first(
    program: Callable[[str], GMNER], tmp_path: Path, where: str, change: dict[str, Any], fact: str,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    student = StagedGMNER(program("idefics3").model)
    sets = {"trainset": POSTS[:2], "valset": POSTS[2:]}
    sets[where] = [unfit(POSTS[0], **change), *sets[where]]
    optimizer = MCR(mrsi=MRSI(max_steps=1), progress=False)

    class BegunError(Exception):
        pass

    def begin(*_: Any, **__: Any) -> None:
        raise BegunError

    monkeypatch.setattr("gmner.optimizers.mcr.Compilation", begin)
    if where == "valset" and "type" in change:  # lowers the score but does not make it wrong
        with pytest.raises(BegunError), caplog.at_level(logging.WARNING):
            student.compile(**sets, optimizer=optimizer, run_dir=tmp_path / "run")
        assert "'bad'" in caplog.text
        return
    name = {"trainset": "training set", "valset": "validation set"}[where]
    with pytest.raises(InputError, match=rf"{name}.*'bad'.*{fact}.*leave_out_invalid"):
        student.compile(**sets, optimizer=optimizer, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


CONFIG = Path(__file__).with_name("earlier_run.json").read_text(encoding="utf-8")
"""The `config.json` of the compile in `resume`, as it was first written."""


def earlier_run(folder: Path, **change: Any) -> Path:
    """The files of a compile of an earlier version that was stopped before it wrote a chain."""
    folder.mkdir()
    config = {**json.loads(CONFIG), **change}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "gone"}, indent=2) + "\n")
    (folder / "lock").write_text("process 1 on elsewhere\n")
    return folder


def resume(folder: Path) -> Any:
    student = GMNER(scripted_lm({"reasoning": "", "entities": []}))
    optimizer = MCR(mrsi=MRSI(demonstrations=Demonstrations(count=1)), cvo=None, progress=False)
    return student.compile(trainset=POSTS[:2], valset=POSTS[2:], optimizer=optimizer, run_dir=folder)


@pytest.mark.filterwarnings("ignore::gmner.optimizers.outcome.UnchangedProgramWarning")
def test_run_of_an_earlier_version_is_resumed_or_refused(tmp_path: Path):
    folder = earlier_run(tmp_path / "run")
    before = (folder / "config.json").read_bytes()
    try:
        resume(folder)
        refused = ""
    except RunDirectoryError as error:
        refused = str(error)
    if refused:
        assert "choose another run_dir" in refused
        assert (folder / "config.json").read_bytes() == before
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "lock"]
    else:
        assert (folder / "result.json").is_file()


@pytest.mark.parametrize(
    ("change", "fact"),
    [({"teacher": "gone"}, "teacher: not set before"), ({"former": 1}, "former: 1 before, not set now")],
)
def test_run_with_other_arguments_is_refused(tmp_path: Path, change: dict[str, Any], fact: str):
    with pytest.raises(RunDirectoryError, match=f"{fact}.*another version of gmner.*"):
        resume(earlier_run(tmp_path / "run", **change))
