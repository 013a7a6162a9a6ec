"""An adapter that is merged into its base weights for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """A model that computes without the detour of its adapter, which takes most of the time of a small decoder's step.

    The base weights are kept and put back bit by bit: taking the update off again would round them each time. That
    needs memory for a second copy of them.

    Args:
        model: A model; one without an adapter stays as it is.
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
