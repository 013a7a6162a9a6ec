"""Proof that MRSI trains: four posts are memorized."""

from pathlib import Path

import pytest

from gmner.data.scoring.evaluate import evaluate
from gmner.data.world.generate import World
from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm


@pytest.mark.e2e
def test_four_posts_are_memorized(tmp_path: Path):
    posts = World(seed=9).posts("train", 4)
    student = GMNER(lm=load_vlm(max_batch=4, cache=False))
    before = evaluate(student, posts, progress=False)
    mrsi = MRSI(styles={"table": TEMPLATES["table"]}, per_post=1, max_steps=40, batch=4, rate=6e-4)
    better = student.compile(trainset=posts, optimizer=MCR(mrsi=mrsi, cvo=None, progress=False), run_dir=tmp_path)
    after = evaluate(better, posts, progress=False)
    assert before.gmner.f1 < 70
    assert after.gmner.f1 > 95
    losses = [entry["loss"] for entry in better.history.log["mrsi"] if "loss" in entry]
    assert losses[-1] < 0.1 * losses[0]
