"""Merge an adapter into its base weights temporarily."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Merge the adapter of a model for the length of a block: a small decoder spends most of a step in its adapter.

    The base weights are copied before and restored exactly, because subtracting the update would add rounding errors
    each time. The copy needs as much memory as the adapted weights.

    Args:
        model: The model; nothing is done if it has no adapter.
    """
    if not isinstance(model, PeftModel):
        yield
        return
    layers = [module.get_base_layer() for module in model.modules() if isinstance(module, BaseTunerLayer)]
    weights = [weight for layer in layers for weight in layer.parameters()]
    kept = [weight.detach().clone() for weight in weights]
    model.merge_adapter()
    try:
        yield
    finally:
        model.unmerge_adapter()
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)
