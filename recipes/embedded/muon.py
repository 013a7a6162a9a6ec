"""Muon: steps of equal size in every direction of a weight matrix, from which a small decoder learns sooner."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_ROUNDS = 5
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.AdamW):
    """AdamW for embeddings, biases, norms and what is not a matrix; orthogonal momentum for the other weights.

    As `torch.optim.Muon`, but in float32: without hardware for it, bfloat16 is a hundred times slower. One rate serves
    both: a matrix's step has it as the root mean square of its entries.

    Args:
        model: What is trained; its `nn.Embedding` tables, and matrices tied to them, stay with AdamW.
        lr: Rate of both.
        weight_decay: Decoupled decay of all but biases and norms.
        betas: AdamW's.
        momentum: Of the matrices, with Nesterov's look ahead.

    Source: Jordan et al., Muon (2024); steps of equal size at any shape: Liu et al., Muon is Scalable for LLM Training
        (2025), there a fifth as long.
    """

    def __init__(
        self, model: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float], momentum: float = 0.95
    ) -> None:
        learned = [weight for weight in model.parameters() if weight.requires_grad]
        tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
        matrices = [weight for weight in learned if weight.ndim == 2 and id(weight) not in tables]
        among = set(map(id, matrices))
        others = [weight for weight in learned if id(weight) not in among]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "momentum": momentum},
            {"params": [weight for weight in others if weight.ndim > 1], "momentum": None},
            {"params": [weight for weight in others if weight.ndim < 2], "momentum": None, "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], lr=lr, weight_decay=weight_decay, betas=betas)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Step the matrices, then all others by AdamW."""
        for group in self.param_groups:
            if group["momentum"] is not None:
                self._orthogonal_step(group)
        return super().step(closure)

    def _orthogonal_step(self, group: dict[str, Any]) -> None:
        """Step the matrices of a group, and take their gradients away: AdamW leaves them alone then."""
        ahead: dict[torch.Size, list[tuple[nn.Parameter, torch.Tensor]]] = {}
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:  # AdamW asks every state that it loads for its step
                state.update(step=torch.zeros(()), past=torch.zeros_like(weight))
            state["past"].lerp_(weight.grad, 1 - group["momentum"])
            change = torch.lerp(weight.grad, state["past"], group["momentum"])
            ahead.setdefault(weight.shape, []).append((weight, change))
            weight.grad = None
        for shape, pairs in ahead.items():
            changes = orthogonal(torch.stack([change for _, change in pairs]))
            for (weight, _), change in zip(pairs, changes, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(change, alpha=-(max(shape) ** 0.5) * group["lr"])


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Nearly the nearest (semi-)orthogonal matrices, by Newton-Schulz iteration.

    Args:
        matrices: (N, rows, columns) float.

    Returns:
        (N, rows, columns); singular values lie between some 0.7 and 1.2.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
