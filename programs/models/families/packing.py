"""The preparation of the Qwen-VL families: packed vision attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def pack(model: PreTrainedModel) -> None:
    """Compute all windows of the vision tower in one call, see `gmner.programs.models.vision_attention`."""
    from gmner.programs.models.vision_attention import pack_vision_attention

    pack_vision_attention(model)
