"""Memory after a compile: unused models and engines are freed."""

import gc
from pathlib import Path

import pytest
from transformers import Idefics3ForConditionalGeneration

from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.engine.vlm_engine import VLMEngine


def objects_in_memory() -> tuple[int, int]:
    gc.unfreeze()
    gc.collect()
    kinds = [type(one) for one in gc.get_objects()]
    return kinds.count(Idefics3ForConditionalGeneration), kinds.count(VLMEngine)


@pytest.mark.slow
def test_unused_results_of_compiles_are_freed(program, posts, tmp_path: Path):
    student = program("idefics3")
    counts = []
    for number in range(2):
        mrsi = MRSI(styles={"table": TEMPLATES["table"]}, per_post=1, max_steps=1, batch=2)
        optimizer = MCR(mrsi=mrsi, cvo=None, progress=False)
        student.compile(trainset=posts[:4], optimizer=optimizer, run_dir=tmp_path / str(number))
        del optimizer
        counts.append(objects_in_memory())
    assert counts[0] == counts[1]
