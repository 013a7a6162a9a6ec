"""Several processes of one launch: equal training, written once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

pytestmark = pytest.mark.nightly

Weights = Callable[[Path], dict[str, torch.Tensor]]

SCRIPT = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from gmner import CVO, GMNER, MCR, MRSI, World, load_vlm
from gmner.optimizers.training.trainable import StageBar
from gmner.signatures.schema import Limits

bars, make = [], StageBar.__init__
StageBar.__init__ = lambda self, *given, show: (bars.append(show), make(self, *given, show=show))[1]
model, run_dir = sys.argv[1:3]
world = World()
posts = world.posts("train", 12)
for place in range(6):  # without a picture
    entities = tuple(replace(entity, boxes=()) for entity in posts[place].entities)
    posts[place] = replace(posts[place], image=None, scene=None, entities=entities)
mrsi = MRSI(max_steps=3, batch=4, tuning="full", sft_options={"logging_steps": 1})
cvo = CVO(max_steps=2, prompts=2, generations=2, max_completion_length=400, rollouts="constrained", tuning="full")
program = GMNER(lm=load_vlm(model, cache=False), limits=Limits(reasoning=20, entities=4))
optimizer = MCR(mrsi=mrsi, cvo=cvo)
better = program.compile(
    trainset=posts, valset=world.posts("dev", 5), optimizer=optimizer, run_dir=run_dir
)
seen = {"chosen": better.history.chosen, "path": str(better.model.engine.path), "bars": bars}
seen["scores"] = {stage: score.to_dict() for stage, score in better.history.scores.items()}
Path(run_dir, f"seen-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(seen))
"""


def launched(processes: int, model: Path, folder: Path) -> str:
    """Run the script in a number of processes and return their output."""
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    start = [sys.executable] if processes == 1 else torchrun
    command = [*start, str(folder / "script.py"), str(model), str(folder / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def runs(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, str]]:
    """The same compile in one process and in two."""
    found = {}
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp(f"launch-{processes}")
        found[processes] = folder / "run", launched(processes, tiny("idefics3"), folder)
    return found


def log_of(run: Path, stage: str) -> list[dict[str, Any]]:
    return json.loads((run / stage / "done.json").read_text())["log"]


def test_two_processes_train_like_one(runs: dict[int, tuple[Path, str]], weights: Weights):
    (one, _), (two, _) = runs[1], runs[2]
    losses = [[entry["loss"] for entry in log_of(run, "mrsi") if "loss" in entry] for run in (one, two)]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    before, after = weights(one / "mrsi"), weights(two / "mrsi")
    assert all(torch.allclose(before[name], after[name], atol=2e-3) for name in before)
    steps = [[entry["step"] for entry in log_of(run, "cvo") if "reward" in entry] for run in (one, two)]
    assert steps == [[1, 2], [1, 2]]


def test_posts_with_and_without_images_in_a_step_of_two_processes(runs: dict[int, tuple[Path, str]]):
    steps = [pandas.read_parquet(path) for path in (runs[2][0] / "cvo" / "completions").glob("*.parquet")]
    bare = [sorted(int(name.split("-")[1]) < 6 for name in step["post"]) for step in steps]
    assert [
        False,
        False,
        True,
        True,
    ] in bare  # one prompt per process; otherwise they would wait for each other's images


def test_processes_have_the_same_program_and_only_the_first_writes(runs: dict[int, tuple[Path, str]]):
    run, said = runs[2]
    seen = [json.loads((run / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
    assert [one.pop("bars") for one in seen] == [[True, True], [False, False]]
    assert seen[0] == seen[1]
    assert seen[0]["scores"]["before"]["posts"] == 5
    alone = json.loads((runs[1][0] / "seen-0.json").read_text())
    assert seen[0]["scores"]["before"] == alone["scores"]["before"]
    assert said.count("chains were replaced") == 1
    made = [sorted(path.name for path in (runs[n][0] / "cvo").glob("*")) for n in (1, 2)]
    assert made[0] == made[1]
