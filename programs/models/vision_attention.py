"""Packed vision attention for the Qwen families: one kernel call a layer on a GPU.

With `sdpa`, transformers calls the kernel once for each attention window of each image: 70 times a layer for an image
of 1024 x 768 pixels in Qwen2.5-VL, so that Python is the bottleneck. PyTorch's `varlen_attn` computes all windows in
one call.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict, Unpack, cast

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from gmner.programs.seams.transformers_seams import attention_of

PACKED = "packed_flash_varlen"
"""Name of the attention function. Transformers passes all windows in one call only if the name contains `flash`."""

_HALF = (torch.float16, torch.bfloat16)


def pack_vision_attention(model: PreTrainedModel) -> None:
    """Switch the vision tower of a Qwen-VL model from `sdpa` to packed attention; keep another implementation."""
    AttentionInterface.register(PACKED, packed_attention)
    if attention_of(model.model.visual.config) == "sdpa":
        model.set_attn_implementation({"vision_config": PACKED})


class WindowOptions(TypedDict):
    """The options that transformers passes to an attention function, as far as packed attention uses them.

    Attributes:
        cu_seq_lens_q: Offsets of the windows, the last one being the total length: (windows + 1,).
        max_length_q: Length of the longest window.
        scaling: Factor of the scores; None: 1 / sqrt(size of a head).
    """

    cu_seq_lens_q: torch.Tensor
    max_length_q: int
    scaling: NotRequired[float | None]


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Unpack[WindowOptions],
) -> tuple[torch.Tensor, None]:
    """Attention within windows of a packed sequence; see transformers' `AttentionInterface`.

    Args:
        module: The attention layer.
        query: (1, heads, length, size of a head); `key` and `value` alike.
        key: See `query`.
        value: See `query`.
        attention_mask: None.
        **options: See `WindowOptions`. Other options of transformers are ignored; the vision towers have no dropout.

    Returns:
        The output (1, length, heads, size of a head), and None for the weights. On the CPU and in full precision, which
        `varlen_attn` does not support, it is computed window by window.
    """
    offsets, scaling = options["cu_seq_lens_q"], options.get("scaling")
    if query.is_cuda and query.dtype in _HALF:
        packed = [part[0].transpose(0, 1) for part in (query, key, value)]
        ends, longest = offsets.to(torch.int32), options["max_length_q"]
        output = varlen_attn(packed[0], packed[1], packed[2], ends, ends, longest, longest, scale=scaling)
        return cast(torch.Tensor, output)[None], None
    lengths = offsets.diff().tolist()
    windows = zip(*(part.split(lengths, 2) for part in (query, key, value)), strict=True)
    parts = [sdpa_attention_forward(module, *window, None, scaling=scaling, is_causal=False)[0] for window in windows]
    return torch.cat(parts, 1), None
