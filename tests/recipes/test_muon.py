"""The optimizer of pre-training: orthogonal steps for matrices, AdamW for the other weights."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gmner.recipes.embedded.muon import Muon, orthogonal


class Tied(nn.Module):
    """An embedding, a square and a wide matrix, and a norm; the embedding is also the head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(11, 8)
        self.square, self.wide, self.norm = nn.Linear(8, 8, bias=False), nn.Linear(8, 24), nn.LayerNorm(24)
        self.back = nn.Linear(24, 8, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(B,) ids to (B, 11) scores."""
        hidden = self.back(self.norm(self.wide(self.square(self.table(ids))).relu()))
        return hidden @ self.table.weight.T


def stepper(model: Tied, lr: float = 1e-2) -> tuple[Muon, Callable[[], float]]:
    optimizer, ids = Muon(model, lr, 0.0, betas=(0.9, 0.98)), torch.arange(11)

    def step() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(ids), (ids * 3) % 11)
        loss.backward()
        optimizer.step()
        return loss.item()

    return optimizer, step


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 20), (2, 20, 8)])
def test_orthogonal_matrices_have_singular_values_near_one(shape: tuple[int, int, int]):
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_orthogonalization_of_zeros_is_zero():
    assert torch.equal(orthogonal(torch.zeros(1, 4, 4)), torch.zeros(1, 4, 4))


def test_step_size_of_a_matrix_depends_only_on_the_rate():
    model = Tied()
    _, step = stepper(model, lr=1e-2)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    step()
    for name in ("square.weight", "wide.weight", "back.weight"):
        change = model.get_parameter(name) - before[name]
        assert change.square().mean().sqrt().item() == pytest.approx(1e-2, rel=0.35), name
    # The first step of AdamW has the size of the learning rate in each entry.
    for name in ("table.weight", "wide.bias", "norm.weight"):
        change = model.get_parameter(name) - before[name]
        assert change.abs().max().item() == pytest.approx(1e-2, rel=1e-3), name


def test_training_reduces_the_loss_and_keeps_frozen_weights():
    model = Tied()
    model.wide.weight.requires_grad_(False)
    frozen = model.wide.weight.clone()
    _, step = stepper(model)
    losses = [step() for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]
    assert torch.equal(model.wide.weight, frozen)


def test_resuming_from_the_state_gives_the_same_weights():
    model = Tied()
    optimizer, step = stepper(model)
    for _ in range(3):
        step()
    other = copy.deepcopy(model)
    resumed, other_step = stepper(other)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        assert step() == other_step()


def test_weight_without_a_gradient_is_unchanged():
    model = Tied()
    optimizer, step = stepper(model)
    step()
    kept = copy.deepcopy(model.state_dict())
    optimizer.zero_grad()
    optimizer.step()
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
