"""Muon: orthogonalised updates of weight matrices, with which a small decoder trains in fewer steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_ROUNDS = 5
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.AdamW):
    """Orthogonalised momentum for weight matrices; AdamW for embeddings, biases, norms and other tensors.

    Unlike `torch.optim.Muon`, it computes in float32: on processors without bfloat16 units, bfloat16 is a hundred times
    slower. One learning rate serves both: it is the root mean square of the entries of a matrix's update.

    Args:
        model: The model to train. AdamW updates its `nn.Embedding` tables and the matrices tied to them.
        lr: Learning rate.
        weight_decay: Decoupled weight decay, for all but biases and norms.
        betas: Betas of AdamW.
        momentum: Nesterov momentum of the matrices.

    Source: Jordan et al., Muon (2024); updates of the same size for every shape: Liu et al., Muon is Scalable for LLM
        Training (2025), which uses a fifth of this size.
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
        """Update the matrices, then everything else with AdamW."""
        for group in self.param_groups:
            if group["momentum"] is not None:
                self._orthogonal_step(group)
        return super().step(closure)

    def _orthogonal_step(self, group: dict[str, Any]) -> None:
        """Update the matrices of a group and clear their gradients, so that AdamW skips them."""
        ahead: dict[torch.Size, list[tuple[nn.Parameter, torch.Tensor]]] = {}
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:  # AdamW expects `step` in every state that it loads
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
    """Approximate the nearest (semi-)orthogonal matrices by Newton-Schulz iteration.

    Args:
        matrices: (N, rows, columns) float.

    Returns:
        (N, rows, columns), with singular values between about 0.7 and 1.2.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
