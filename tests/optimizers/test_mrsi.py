"""MRSI: the trained weights, and resuming."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiers import daily

from gmner.data.post import Post
from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training.rows import tuning_rows
from gmner.optimizers.training.trainable import StageBar, resolve_tuning
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import InputError

pytestmark = pytest.mark.slow

TUNED = list(itertools.product(("idefics3", "qwen2_5_vl"), ("lora", "lora-frozen-vision")))
Programs = Callable[[str], GMNER]
Weights = Callable[[Path], dict[str, torch.Tensor]]


def inject(mrsi: MRSI, program: GMNER, posts: list[Post], folder: Path) -> list[dict[str, Any]]:
    chains = mrsi.chains(posts, program.adapter(), random.Random(0))
    by_id = {post.id: post for post in posts}
    rows = tuning_rows(chains, by_id, program.adapter(), program.answer.signature, [])
    return mrsi.inject(rows, program.model.engine, folder, seed=0, progress=False)


def test_full_tuning_changes_language_and_vision(
    program: Programs, posts: list[Post], tmp_path: Path, weights: Weights, tiny: Callable[[str], Path]
):
    log = inject(MRSI(max_steps=3, batch=4, tuning="full"), program("idefics3"), posts[:8], tmp_path)
    assert log[-1]["step"] == 3
    before, after = load_file(tiny("idefics3") / "model.safetensors"), weights(tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("vision_model" in name for name in changed)
    assert any("text_model" in name for name in changed)


@pytest.mark.parametrize(("family", "tuning"), daily(TUNED, ("idefics3", "lora"), ("qwen2_5_vl", "lora-frozen-vision")))
def test_lora_writes_an_adapter_only(
    program: Programs, posts: list[Post], tmp_path: Path, weights: Weights, family: str, tuning: Any
):
    inject(MRSI(max_steps=2, batch=2, tuning=tuning), program(family), posts[:4], tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    adapter = weights(tmp_path)
    assert {name.rsplit(".", 2)[1] for name in adapter} == {"lora_A", "lora_B"}
    learned = [name for name, value in adapter.items() if "lora_B" in name and value.abs().max() > 0]
    of_vision = [name for name in adapter if any(part in name for part in ("vision", "visual", "connector", "merger"))]
    assert learned
    assert bool(of_vision) == (tuning == "lora")
    assert set(of_vision) < set(adapter)


def test_loss_falls_on_repeated_chains(program: Programs, posts: list[Post], tmp_path: Path):
    mrsi = MRSI(max_steps=20, batch=1, rate=3e-3, tuning="full", sft_options={"logging_steps": 1})
    losses = [entry["loss"] for entry in inject(mrsi, program("idefics3"), posts[:1], tmp_path) if "loss" in entry]
    assert len(losses) == 20
    assert losses[-1] < 0.5 * losses[0]


def test_micro_batches_give_the_same_weights(program: Programs, posts: list[Post], tmp_path: Path, weights: Weights):
    logs = []
    for micro_batch in (None, 2):
        mrsi = MRSI(max_steps=2, batch=4, micro_batch=micro_batch, tuning="full", sft_options={"logging_steps": 1})
        logs.append(inject(mrsi, program("idefics3"), posts[:8], tmp_path / str(micro_batch)))
    whole, parts = ([entry["loss"] for entry in log if "loss" in entry] for log in logs)
    assert len(parts) == 2
    assert parts == pytest.approx(whole, rel=1e-4)
    one, other = (weights(tmp_path / str(micro_batch)) for micro_batch in (None, 2))
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)
    with pytest.raises(InputError, match="micro_batch must divide the batch"):
        inject(MRSI(max_steps=1, batch=4, micro_batch=3), program("idefics3"), posts[:4], tmp_path / "odd")


def test_training_is_reproducible_also_after_an_interruption(
    program: Programs, posts: list[Post], tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
):
    mrsi = MRSI(max_steps=3, batch=2, tuning="full", sft_options={"save_steps": 1, "logging_steps": 1})
    folders = {name: tmp_path / name for name in ("one", "two", "cut")}

    def killed(self: StageBar, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 2:
            raise KeyboardInterrupt

    logs = {name: inject(mrsi, program("idefics3"), posts[:6], folders[name]) for name in ("one", "two")}
    with monkeypatch.context() as patch:
        patch.setattr(StageBar, "on_step_end", killed)
        with pytest.raises(KeyboardInterrupt):
            inject(mrsi, program("idefics3"), posts[:6], folders["cut"])
    assert not (folders["cut"] / "model.safetensors").exists()
    logs["cut"] = inject(mrsi, program("idefics3"), posts[:6], folders["cut"])
    losses = {name: [entry["loss"] for entry in log if "loss" in entry] for name, log in logs.items()}
    assert losses["one"] == losses["two"] == losses["cut"]
    stored = {name: weights(folder) for name, folder in folders.items()}
    for name, value in stored["one"].items():
        assert torch.equal(value, stored["two"][name])
        assert torch.equal(value, stored["cut"][name])


def test_auto_tuning_depends_on_the_size():
    assert resolve_tuning("auto", 10_000_000) == "full"
    assert resolve_tuning("auto", 7_000_000_000) == "lora-frozen-vision"
    assert resolve_tuning("lora", 10) == "lora"


@pytest.mark.parametrize(("trained", "styles"), [(True, {"picture_first"}), (False, set(TEMPLATES))])
def test_a_post_has_two_chains_in_different_styles_or_one_if_there_is_one_style(
    program: Programs, posts: list[Post], trained: bool, styles: set[str]
):
    mrsi, adapter = MRSI().chosen(trained=trained), program("idefics3").adapter()
    chains = mrsi.chains(posts, adapter, random.Random(0))
    groups = [{chain.style for chain in group} for _, group in itertools.groupby(chains, lambda chain: chain.post_id)]
    assert len(groups) == len(posts)
    assert {len(group) for group in groups} == {mrsi.chains_per_post} == {min(2, len(styles))}
    assert set().union(*groups) == styles


def test_each_chain_has_a_row_with_the_answer_alone(program: Programs, posts: list[Post]):
    student = program("idefics3")
    mrsi = MRSI(answers=True)
    chains = mrsi.chains(posts[:4], student.adapter(), random.Random(0))
    lessons = mrsi.lessons(chains, student)
    assert lessons[::2] == chains
    assert [(lesson.post_id, lesson.reasoning, lesson.entities) for lesson in lessons[1::2]] == [
        (chain.post_id, "", chain.entities) for chain in chains
    ]
    assert MRSI().lessons(chains, student) == chains
    assert mrsi.lessons(chains, StagedGMNER(student.model)) == chains


@pytest.mark.parametrize(("settings", "rows", "steps"), [
    ({}, 200, 160), ({}, 4000, 500), ({"least_steps": 0}, 200, 25), ({"max_steps": 7}, 200, 7),
])  # fmt: skip
def test_few_rows_are_repeated_for_enough_steps(settings: dict[str, Any], rows: int, steps: int):
    assert MRSI(**settings).steps(rows) == steps


def test_full_tuning_of_an_lm_with_an_adapter_is_refused(program: Programs, posts: list[Post], tmp_path: Path):
    from gmner.programs.models.loading import load_vlm

    student = program("idefics3")
    inject(MRSI(max_steps=1, batch=2, tuning="lora"), student, posts[:2], tmp_path / "adapter")
    lm = load_vlm(student.model.engine.path, adapter=tmp_path / "adapter", cache=False)
    with pytest.raises(InputError, match="not possible for an LM with an adapter"):
        inject(MRSI(max_steps=1, batch=2, tuning="full"), GMNER(lm=lm), posts[:2], tmp_path / "full")
