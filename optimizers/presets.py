"""`preset`: settings of MCR for a model and a machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.signatures.errors import InputError


def _tiny() -> MCR:
    styles = {name: TEMPLATES[name] for name in ("text_first", "table")}  # the shortest chains, to save time
    mrsi = MRSI(styles=styles, per_post=1, answers=False, max_steps=40, batch=16, rate=1e-3)
    cvo = CVO(max_steps=8, redraws=0, max_completion_length=256, validate_every=None)
    return MCR(mrsi=mrsi, cvo=cvo, d1_share=0.5, holdout=0)


def _qwen2_5_vl_7b() -> MCR:
    mrsi = MRSI(micro_batch=2, rate=1e-4, tuning="lora-frozen-vision")
    cvo = CVO(prompts=8, micro_batch=4, epochs=2, rate=1e-5, tuning="lora-frozen-vision")
    return MCR(mrsi=mrsi, cvo=cvo)


_PRESETS: Mapping[str, Callable[[], MCR]] = MappingProxyType(
    {"default": MCR, "tiny": _tiny, "qwen2.5-vl-7b": _qwen2_5_vl_7b}
)

PROMISED_GB: Mapping[str, Callable[[int], float]] = MappingProxyType(
    {"qwen2.5-vl-7b": lambda samples: 17 + 1 + 2 * samples}
)
"""The memory of a training stage that the documentation of a preset promises: samples held at once -> GB (1e9 B)."""


def preset(name: str) -> MCR:
    """An optimizer with settings for a model and a machine.

    - `default`: `MCR()`, for small models and for LoRA on larger ones; every batch is held at once.
    - `tiny`: for the embedded model on two cores; takes minutes.
    - `qwen2.5-vl-7b`: for Qwen2.5-VL-7B-Instruct, with the paper's 2 epochs per stage, LoRA, eight answers to each of
      eight prompts per step, and two rows per post (a chain, and the answer alone; the paper has two chains). In
      bfloat16 with gradient checkpointing, a stage takes 17 GB for the weights that it trains, 1 GB for adapter and
      optimizer, and about 2 GB for each sample that is held at once. Measured on an H100 with random weights: 18.5 GiB
      (MRSI) and 23.1 GiB (CVO), see `docs/gpu.md`. Each loaded program takes another 15.5 GiB. `micro_batch` trades
      memory for time without changing the result; batch sizes count the samples of all processes.

    Change single settings with `dataclasses.replace`, for example
    `optimizer.cvo = dataclasses.replace(optimizer.cvo, prompts=2)`.

    Args:
        name: The name of the preset.

    Raises:
        InputError: An unknown name.

    Source: MCR (Ma et al., Findings of ACL 2026) for chains, epochs, generations, batch and LoRA; rates are ours.
    """
    if name not in _PRESETS:
        raise InputError("Unknown preset", received=name, accepted=", ".join(_PRESETS))
    return _PRESETS[name]()
