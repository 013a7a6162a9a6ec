"""Answers with a shared prompt have the log probabilities and gradients that TRL computes row by row."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiers import daily
from tiny import FAMILIES

from gmner.data.post import Post
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training import shared_prompts, trl_seams
from gmner.optimizers.training.grpo import ConstrainedGRPOTrainer
from gmner.optimizers.training.merging import merged
from gmner.optimizers.training.program_calls import answer_calls
from gmner.optimizers.training.rows import program_rows
from gmner.optimizers.training.sft import PromptSampler, SharingSFTTrainer, prompt_groups
from gmner.optimizers.training.shared_prompts import SharedPrompts, shares_prompts
from gmner.optimizers.training.trainable import Lora, training_copy
from gmner.programs.gmner import GMNER

Programs = Callable[[str], GMNER]
METHOD = "_get_per_token_logps_and_entropies"
CHECKPOINTING = ("sdpa", {"gradient_checkpointing": True})


@pytest.fixture
def mixed(posts: list[Post]) -> list[Post]:
    """Posts with one text and two images, and one without an image."""
    first, second, third, *_ = [post for post in posts if post.image is not None]
    return [first, replace(first, id="again", image=second.image), replace(third, image=None, entities=(), scene=())]


def train(settings: CVO, program: GMNER, posts: list[Post], folder: Path) -> None:
    adapter = program.adapter()
    rows = settings.rows(answer_calls(posts, program.answer.signature, []), adapter)
    settings.optimize(rows, program.model.engine, adapter, folder, seed=0, progress=False)


def cvo(**options: Any) -> CVO:
    usual = {"prompts": 3, "generations": 3, "redraws": 0, "max_steps": 1, "max_completion_length": 40}
    return CVO(**{**usual, "tuning": "lora", "rollouts": "free", **options})


def compared(monkeypatch: pytest.MonkeyPatch, attention: str = "sdpa") -> list[tuple[float, float]]:
    """Make a trainer compute everything both ways; returns the largest log probability and gradient differences."""
    differences: list[tuple[float, float]] = []
    compute = getattr(ConstrainedGRPOTrainer, METHOD)

    def both(trainer: Any, model: Any, *args: Any, **options: Any) -> Any:
        model.get_base_model().set_attn_implementation(attention)
        assert trainer._shares
        shared = compute(trainer, model, *args, **options)
        monkeypatch.setattr(trainer, "_shares", False)
        alone = compute(trainer, model, *args, **options)
        monkeypatch.setattr(trainer, "_shares", True)
        assert shared[0].shape == alone[0].shape
        apart = (shared[0] - alone[0]).abs().max().item()
        if shared[1] is not None:
            apart = max(apart, (shared[1] - alone[1]).abs().max().item())
        pairs = zip(_gradients(model, shared[0]), _gradients(model, alone[0]), strict=True)
        differences.append((apart, max(((a - b).abs().max().item() for a, b in pairs), default=0.0)))
        return alone

    monkeypatch.setattr(ConstrainedGRPOTrainer, METHOD, both)
    return differences


def _gradients(model: Any, values: torch.Tensor) -> list[torch.Tensor]:
    if not values.requires_grad:
        return []
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    factors = torch.arange(values.numel(), dtype=values.dtype).reshape(values.shape).sin()
    found = torch.autograd.grad((values * factors).sum(), weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(weight) if g is None else g for g, weight in zip(found, weights, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("family", daily(FAMILIES, "idefics3"))
def test_shared_prompts_give_equal_figures(
    program: Programs, mixed: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
):
    differences = compared(monkeypatch)
    train(cvo(beta=0.1), program(family), mixed, tmp_path)
    assert len(differences) >= 2  # those of the policy, and of the reference
    assert max(apart for apart, _ in differences) < 1e-4
    assert max(apart for _, apart in differences) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "options"), daily([("eager", {}), CHECKPOINTING], CHECKPOINTING))
def test_other_attention_and_checkpointing(
    program: Programs,
    mixed: list[Post],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    attention: str,
    options: dict[str, Any],
):
    differences = compared(monkeypatch, attention)
    train(cvo(grpo_options=options), program("qwen2_5_vl"), mixed, tmp_path)
    assert max(max(apart) for apart in differences) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("family", daily(["qwen2_5_vl", "idefics3", "internvl"], "qwen2_5_vl"))
def test_micro_batches_keep_answers_of_a_prompt_together(
    program: Programs, mixed: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
):
    groups: list[list[list[int]]] = []
    find = shared_prompts._groups
    monkeypatch.setattr(shared_prompts, "_groups", lambda *args: groups.append(find(*args)) or groups[-1])
    differences = compared(monkeypatch)
    train(cvo(micro_batch=3, beta=0.1), program(family), mixed, tmp_path)
    assert groups
    assert all(parts == [[0, 1, 2]] for parts in groups)
    assert max(apart for apart, _ in differences) < 1e-4
    assert max(apart for _, apart in differences) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("family", daily(FAMILIES, "qwen2_5_vl"))
def test_sft_loss_of_shared_prompts_equals_single_rows(
    program: Programs, mixed: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
):
    compute, differences = SharingSFTTrainer.compute_loss, list[tuple[float, float]]()

    def both(trainer: Any, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        assert trainer._shares
        shared = compute(trainer, model, dict(inputs), *args, **options)
        monkeypatch.setattr(trainer, "_shares", False)
        alone = compute(trainer, model, dict(inputs), *args, **options)
        monkeypatch.setattr(trainer, "_shares", True)
        pairs = zip(_gradients(model, shared), _gradients(model, alone), strict=True)
        differences.append((abs(shared - alone).item(), max((a - b).abs().max().item() for a, b in pairs)))
        accuracies = trainer._metrics["train"]["mean_token_accuracy"]
        assert accuracies[-1] == pytest.approx(accuracies[-2])
        return alone

    monkeypatch.setattr(SharingSFTTrainer, "compute_loss", both)
    asked, posts = program(family), {post.id: post for post in mixed}
    mrsi = MRSI(styles=["text_first", "table"], max_steps=1, batch=6, micro_batch=2, tuning="lora")
    chains = mrsi.chains(mixed, asked.adapter(), random.Random(0))
    rows = program_rows(asked, mrsi.lessons(chains, asked), posts, asked.adapter(), [])
    assert sorted(prompt_groups(rows)) == [0, 0, 1, 1, 2, 2]
    mrsi.inject(rows, asked.model.engine, tmp_path, seed=0, progress=False)
    assert len(differences) == 3
    assert max(max(apart) for apart in differences) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_logits_are_computed_for_answers_only(
    program: Programs, mixed: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
):
    projected, labelled, student = [], [], program("qwen2_5_vl")
    apply = trl_seams.trainer_utils._ChunkedLogProbFunction.apply

    def counting(hidden: torch.Tensor, weight: Any, bias: Any, targets: torch.Tensor, *rest: Any) -> Any:
        projected.append(len(hidden))
        return apply(hidden, weight, bias, targets, *rest)

    monkeypatch.setattr(trl_seams.trainer_utils, "_ChunkedLogProbFunction", SimpleNamespace(apply=counting))
    forward = trl_seams.trainer_utils.FusedCausalLMOutput

    def output(**fields: Any) -> Any:
        labelled.append(int(fields["label_mask"].sum()))
        return forward(**fields)

    monkeypatch.setattr(trl_seams.trainer_utils, "FusedCausalLMOutput", output)
    if stage == "grpo":
        train(cvo(), student, mixed, tmp_path)
    else:
        mrsi = MRSI(styles=["text_first", "table"], max_steps=1, batch=6, tuning="lora")
        lessons = mrsi.lessons(mrsi.chains(mixed, student.adapter(), random.Random(0)), student)
        rows = program_rows(student, lessons, {post.id: post for post in mixed}, student.adapter(), [])
        mrsi.inject(rows, student.model.engine, tmp_path, seed=0, progress=False)
    assert projected == labelled
    assert sum(projected) > 0


def test_rows_of_a_prompt_are_adjacent_in_each_epoch():
    sampler = PromptSampler([0, 1, 0, 2, 1, 2], seed=0)
    orders = []
    for epoch in range(8):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert order == list(sampler)
        assert {frozenset(order[place : place + 2]) for place in (0, 2, 4)} == {
            frozenset({0, 2}), frozenset({1, 4}), frozenset({3, 5}),
        }  # fmt: skip
        orders.append(tuple(order))
    assert len(set(orders)) > 1
    assert len(sampler) == 6


def test_prompts_with_other_images_are_not_shared():
    ids, read = torch.ones(3, 4, dtype=torch.long), torch.ones(3, 4, dtype=torch.bool)
    pictures = [{"pixel_values": torch.full((1, 2), value)} for value in (0.0, 1.0, 0.0)]
    assert shared_prompts._groups(ids, read, pictures) == [[0, 2], [1]]


def test_masked_answer_does_not_count(program: Programs):
    model = program("idefics3").model.engine.model

    def fused(**inputs: Any) -> Any:
        assert inputs["shift_labels"].tolist() == [[-100, 6, 7]]
        assert inputs["attention_mask"].shape == (1, 1, 3, 3)
        return shared_prompts.SimpleNamespace(log_probs=torch.tensor([[0.0, -1.0, -2.0]]), entropy=None)

    shared = SharedPrompts(fused, model, by_row=True)
    ids = torch.tensor([[3, 5, 6, 7], [3, 5, 8, 9]])
    labels = torch.tensor([[-100, -100, 6, 7], [-100, -100, -100, -100]])
    found = shared(input_ids=ids, attention_mask=torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]), labels=labels)
    assert found.log_probs.tolist() == [[0.0, -1.0, -2.0], [0.0, 0.0, 0.0]]


def test_flash_attention_and_windows_use_trl(
    program: Programs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", shared_prompts.LOG.name)
    model = program("qwen2_5_vl").model.engine.model
    text = model.config.get_text_config()
    assert shares_prompts(model)
    monkeypatch.setattr(text, "layer_types", ["full_attention", "sliding_attention"])
    assert not shares_prompts(model)
    monkeypatch.undo()
    monkeypatch.setattr(text, "_attn_implementation_internal", "flash_attention_2")
    assert not shares_prompts(model)
    assert "qwen2_5_vl, attention flash_attention_2" in caplog.text


def test_unmerging_an_adapter_restores_the_weights(program: Programs):
    engine = program("idefics3").model.engine
    model, _ = training_copy(engine.weights.source, engine.path, "lora", Lora())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        apart = model(input_ids=ids).logits
        with merged(model):
            assert torch.allclose(model(input_ids=ids).logits, apart, atol=1e-4)
            assert any(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())
        assert torch.equal(model(input_ids=ids).logits, apart)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
