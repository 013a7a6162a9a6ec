"""The presets, one line each; `register` adds a preset from outside the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmner.optimizers.presets import default, mimo_vl_7b, qwen2_5_vl_7b, qwen3_vl_4b, qwen3_vl_8b, tiny
from gmner.optimizers.presets.definition import Preset
from gmner.signatures.errors import InputError
from gmner.signatures.registry import Registry, check_type

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR

_BUILT_IN = (
    default.DEFAULT,
    tiny.TINY,
    qwen2_5_vl_7b.QWEN2_5_VL_7B,
    mimo_vl_7b.MIMO_VL_7B,
    qwen3_vl_8b.QWEN3_VL_8B,
    qwen3_vl_4b.QWEN3_VL_4B,
)
PRESETS: Registry[Preset] = Registry("preset", {preset.name: preset for preset in _BUILT_IN})
"""The presets by name."""


def register(preset: Preset) -> Preset:
    """Add a preset: `gmner.preset` and `gmner compile --preset` accept its name.

    Args:
        preset: The preset.

    Returns:
        The preset itself.

    Raises:
        InputError: Not a `Preset`, a name that is not a word, or another preset has this name.

    Example:
        >>> def build():
        ...     import gmner
        ...     return gmner.MCR(mrsi=gmner.MRSI(styles=["table"]))
        >>> register(Preset("table-only", "short chains", build)).name
        'table-only'
        >>> unregister("table-only")
    """
    check_type(preset, Preset)
    PRESETS.add(preset.name, preset)
    return preset


def unregister(name: str) -> None:
    """Remove a preset that `register` added.

    Raises:
        InputError: No preset with this name was registered.
    """
    PRESETS.remove(name)


def preset(name: str) -> MCR:
    """An optimizer with settings for a model and a machine.

    - `default`: `MCR()`, for small models and for LoRA on larger ones; every batch is held at once.
    - `tiny`: for the embedded model on two cores; takes minutes.
    - `qwen2.5-vl-7b`: for Qwen2.5-VL-7B-Instruct, with the paper's 2 epochs per stage, LoRA, eight answers to each of
      eight prompts per step, and two chains per post in different styles, here all templates. In bfloat16 with
      gradient checkpointing, a stage takes 17 GB for the weights that it trains, 1 GB for adapter and optimizer, and
      about 2 GB for each sample that is held at once. Measured on an H100 with random weights: 18.5 GiB (MRSI) and
      23.1 GiB (CVO), see `docs/gpu.md`. Each loaded program takes another 15.5 GiB. `micro_batch` trades memory for
      time without changing the result; batch sizes count the samples of all processes.

    - `mimo-vl-7b`: for MiMo-VL-7B, the paper's second model: as `qwen2.5-vl-7b`, with the paper's 5 epochs of MRSI.
    - `qwen3-vl-8b`, `qwen3-vl-4b`: as `qwen2.5-vl-7b`, for Qwen3-VL; the paper does not use it. The smaller one holds
      twice as many samples at once. These three were not run with the published weights.

    Change single settings with `dataclasses.replace`, for example
    `optimizer.cvo = dataclasses.replace(optimizer.cvo, prompts=2)`.

    Args:
        name: The name of a preset, one of these or a registered one.

    Returns:
        A new optimizer.

    Raises:
        InputError: No preset has this name, or a registered one does not return an `MCR`.

    Source: MCR (Ma et al., Findings of ACL 2026) for chains, epochs, generations, batch and LoRA; rates are ours.
    """
    from gmner.optimizers.mcr import MCR  # slow to import, and --help needs the names of the presets only

    optimizer = PRESETS.find(name).build()
    if not isinstance(optimizer, MCR):
        raise InputError(f"The preset {name!r} does not return an MCR", received=optimizer, accepted="gmner.MCR(...)")
    return optimizer
