"""`preset`: MCR as it is meant for a model and a machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.signatures.errors import InputError


def _tiny() -> MCR:
    styles = {name: TEMPLATES[name] for name in ("text_first", "table")}  # the shortest: minutes are few
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
"""What the documentation of a preset says of a training stage's memory: samples held at once -> GB (1e9 bytes)."""


def preset(name: str) -> MCR:
    """Settings of MCR by name; change single ones with `dataclasses.replace(optimizer.cvo, ...)`.

    - `default`: `MCR()`, for small models and LoRA on larger ones, every batch at once.
    - `tiny`: the embedded model on two cores, minutes.
    - `qwen2.5-vl-7b`: `MCR()` for Qwen2.5-VL-7B-Instruct: the paper's 2 epochs of each stage, LoRA, eight answers to
      each of eight prompts a step, and two rows a post (a chain and the answer alone; the paper: two chains). In
      bfloat16 with gradient checkpointing a stage takes 17 GB for the weights it trains, 1 GB for adapter and
      optimizer, and some 2 GB a sample held at once; measured on an H100 with random weights: 18.5 GiB (MRSI) and 23.1
      GiB (CVO), see `docs/gpu.md`. Weights that are served come on top, 15.5 GiB for each program that is loaded.
      `micro_batch` trades memory for time and changes nothing else; batches are those of all processes.

    Args:
        name: One of these.

    Raises:
        InputError: Another name.

    Source: MCR (Ma et al., Findings of ACL 2026) for chains, epochs, generations, batch and LoRA; rates are ours.
    """
    if name not in _PRESETS:
        raise InputError("There is no such preset", received=name, accepted=", ".join(_PRESETS))
    return _PRESETS[name]()
