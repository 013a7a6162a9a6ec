"""Two steps of SFT and of GRPO with Gemma 4, whose chat template and processor differ most from those of Qwen."""

from pathlib import Path

import pytest
from gemma4_checkpoint import build_gemma4

from gmner.data.world.generate import World
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.schema import Limits


@pytest.mark.slow
def test_two_steps_of_sft_and_of_grpo(tmp_path: Path):
    lm = load_vlm(build_gemma4(tmp_path / "tiny"), cache=False)
    student = GMNER(lm, limits=Limits(reasoning=12, entities=3))
    optimizer = MCR(
        mrsi=MRSI(max_steps=2, per_post=1, tuning="full", batch=2),
        cvo=CVO(max_steps=2, prompts=2, generations=2, tuning="full", max_completion_length=400),
        progress=False,
    )
    better = student.compile(trainset=World().posts("train", 6), optimizer=optimizer, run_dir=tmp_path / "run")
    before, after = (program.model.engine.model.state_dict() for program in (student, better))
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)
    assert all(span.span in "Kevin Durant in Paris" for span in better(text="Kevin Durant in Paris").entities)
