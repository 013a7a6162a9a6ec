"""The checkpoints of a stage: only complete ones are resumed, at whatever write the process was killed."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from kills import kills
from safetensors.torch import save_file

from gmner.optimizers.training.checkpoint_mark import MarkWhole
from gmner.optimizers.training.checkpoints import MARK, drop_after, is_whole, last_checkpoint, trainer_state

FILES = ("model.safetensors", "config.json", "optimizer.pt", "rng_state.pth", "training_args.bin", "trainer_state.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the files and formats of transformers."""
    folder = tmp_path_factory.mktemp("made")
    save_file({"a": torch.ones(40)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "rng_state.pth", "training_args.bin"):
        torch.save({"state": torch.ones(40)}, folder / name)
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 2, "max_steps": 4, "log_history": []}))
    return folder


def mark(checkpoint: Path) -> None:
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    args = SimpleNamespace(output_dir=str(checkpoint.parent))
    state = SimpleNamespace(global_step=step, is_world_process_zero=True)
    MarkWhole(checkpoint.parent / "model" / "gmner.json").on_save(args, state, None)


@pytest.fixture
def stage(made: Path, tmp_path: Path) -> Path:
    """A stage with two complete checkpoints, the newer one marked as complete."""
    for step in (9, 10):
        shutil.copytree(made, tmp_path / f"checkpoint-{step}")
    mark(tmp_path / "checkpoint-10")
    return tmp_path


def test_newest_checkpoint_by_number(stage: Path):
    (stage / "checkpoint-best").mkdir()
    (stage / "checkpoint-11").write_text("a file")
    assert last_checkpoint(stage) == stage / "checkpoint-10"
    assert last_checkpoint(stage, before=10) == stage / "checkpoint-9"
    assert last_checkpoint(stage, before=9) is None
    assert last_checkpoint(stage / "nowhere") is None
    assert trainer_state(stage / "checkpoint-10")["max_steps"] == 4


def test_checkpoint_has_the_profile_of_its_model(stage: Path):
    (stage / "model").mkdir()
    (stage / "model" / "gmner.json").write_text('{"frame": "pixels"}')
    mark(stage / "checkpoint-9")
    assert (stage / "checkpoint-9" / "gmner.json").read_text() == '{"frame": "pixels"}'
    assert is_whole(stage / "checkpoint-9")
    (stage / "checkpoint-9" / "gmner.json").unlink()  # it is part of a complete checkpoint
    assert not is_whole(stage / "checkpoint-9")


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [0, 0.5, 0.95])
def test_truncated_checkpoint_is_ignored(stage: Path, name: str, left: float, marked: bool):
    file = stage / "checkpoint-10" / name
    if not marked:
        (stage / "checkpoint-10" / MARK).unlink()
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * left)])
    assert last_checkpoint(stage) == stage / "checkpoint-9"


@pytest.mark.parametrize("name", FILES)
def test_incomplete_checkpoint_is_ignored(stage: Path, name: str):
    (stage / "checkpoint-10" / name).unlink()
    assert last_checkpoint(stage) == stage / "checkpoint-9"


@pytest.mark.slow
def test_kill_at_any_write_leaves_a_usable_checkpoint(made: Path, tmp_path: Path):
    def write(folder: Path) -> None:
        (folder / "checkpoint-2").mkdir()
        for name in FILES:
            (folder / "checkpoint-2" / name).write_bytes(contents[name])
        mark(folder / "checkpoint-2")
        shutil.rmtree(folder / "checkpoint-1")  # like save_total_limit

    contents = {name: (made / name).read_bytes() for name in FILES}
    taken = []
    for kill in kills(write, tmp_path, lambda folder: shutil.copytree(made, folder / "checkpoint-1")):
        found = last_checkpoint(kill.folder)
        assert found is not None, kill
        assert {name: (found / name).read_bytes() for name in FILES} == contents, kill
        taken.append(found.name)
        drop_after(kill.folder, found)
        assert last_checkpoint(kill.folder) == found
    assert set(taken) == {"checkpoint-1", "checkpoint-2"}


def test_files_after_the_resumed_checkpoint_are_removed(stage: Path):
    (stage / "checkpoint-11").mkdir()
    drop_after(stage, stage / "checkpoint-10")
    assert not (stage / "checkpoint-11").exists()
    assert is_whole(stage / "checkpoint-10")
    assert is_whole(stage / "checkpoint-9")
    drop_after(stage, None)
    assert list(stage.iterdir()) == []
