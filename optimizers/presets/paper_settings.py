"""The settings of the paper for models of several billion weights, which its presets share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmner.optimizers.mcr import MCR


def paper_settings(*, mrsi_epochs: int = 2, micro_batch: int = 2) -> MCR:
    """MCR with LoRA, chains in all styles, eight answers to each of eight prompts per step, and 2 epochs of CVO.

    Args:
        mrsi_epochs: Epochs of supervised fine-tuning: 2 for Qwen2.5-VL-7B, 5 for MiMo-VL-7B.
        micro_batch: Samples of MRSI that are held at once; CVO holds twice as many.

    Source: MCR (Ma et al., Findings of ACL 2026) for several styles, epochs, generations, batch and LoRA; the styles
    themselves and the rates are ours.
    """
    from gmner.optimizers.chains.styles import TEMPLATES
    from gmner.optimizers.cvo import CVO
    from gmner.optimizers.mcr import MCR
    from gmner.optimizers.mrsi import MRSI

    mrsi = MRSI(
        styles=list(TEMPLATES), epochs=mrsi_epochs, micro_batch=micro_batch, rate=1e-4, tuning="lora-frozen-vision"
    )
    cvo = CVO(prompts=8, micro_batch=2 * micro_batch, epochs=2, rate=1e-5, tuning="lora-frozen-vision")
    return MCR(mrsi=mrsi, cvo=cvo)
