"""Qwen2.5-VL checkpoints with random weights, as large and as fast as the real ones, for offline machines."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice, product
from pathlib import Path
from string import ascii_letters
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2VLImageProcessorPil,
)

from gmner.programs.models.families import family_of
from gmner.signatures.errors import InputError

_SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% for c in m.content %}{% if c.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PATCH, _MERGE = 14, 2


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Qwen2.5-VL checkpoint.

    Attributes:
        tokens: Number of tokens of the tokenizer, including special tokens.
        vocabulary: Number of rows of the embedding; larger than `tokens`, as in the real checkpoints.
        text: Sizes of the language model, by configuration name.
        vision: Sizes of the vision tower, by configuration name.
        rope: Sections of the rotary embedding; their sum is half the head size.
        max_pixels: Largest number of pixels of a resized image.
    """

    tokens: int
    vocabulary: int
    text: dict[str, int]
    vision: dict[str, Any]
    rope: tuple[int, int, int]
    max_pixels: int


SHAPES = {
    "qwen2.5-vl-7b": Shape(
        151_665, 152_064,
        {"hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28,
         "num_key_value_heads": 4},
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
         "fullatt_block_indexes": [7, 15, 23, 31]},
        (16, 24, 24), 12_845_056,
    ),
    "tiny": Shape(
        400, 512,
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2},
        {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "fullatt_block_indexes": [1]},
        (2, 3, 3), 24 * 28 * 28,
    ),
}  # fmt: skip
"""The published configuration of Qwen2.5-VL-7B-Instruct, and a tiny one for trials on a CPU."""


def build_random(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint with random bfloat16 weights, which are sampled on the GPU if there is one.

    Its tokenizer has the number of tokens of the real one, but artificial tokens, so English texts become longer.

    Args:
        name: A key of `SHAPES`.
        folder: Folder for the checkpoint (17 GB for `qwen2.5-vl-7b`).
        seed: Seed of the weights.

    Returns:
        The folder.

    Raises:
        InputError: The name is unknown.
    """
    if name not in SHAPES:
        raise InputError("Unknown random model", received=name, accepted=", ".join(SHAPES))
    shape = SHAPES[name]
    tokenizer = _tokenizer(shape.tokens)
    torch.manual_seed(seed)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForImageTextToText.from_config(_config(shape, tokenizer), dtype=torch.bfloat16)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    sides = {"shortest_edge": 4 * (_PATCH * _MERGE) ** 2, "longest_edge": shape.max_pixels}
    images = Qwen2VLImageProcessorPil(patch_size=_PATCH, merge_size=_MERGE, temporal_patch_size=2, size=sides)
    family_of("qwen2_5_vl").processor_class()(images, tokenizer, chat_template=_TEMPLATE).save_pretrained(folder)
    return folder


def _tokenizer(tokens: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with this many tokens: all combinations of one, two, three and four letters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = ascii_letters
    longer = chain.from_iterable(product(letters, repeat=length) for length in (2, 3, 4))
    words = ["".join(word) for word in islice(longer, tokens - len(alphabet) - len(_SPECIALS))]
    vocabulary = {token: index for index, token in enumerate([*alphabet, *words])}
    raw = Tokenizer(models.BPE(vocabulary, [(word[:-1], word[-1]) for word in words]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIALS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left"
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def _config(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    names = {"image_token": "image_pad", "video_token": "video_pad", "vision_start_token": "vision_start"}
    names["vision_end_token"] = "vision_end"
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()}
    text = {
        **shape.text, "vocab_size": shape.vocabulary, "max_position_embeddings": 128_000, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": list(shape.rope)},
        "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        **shape.vision, "out_hidden_size": shape.text["hidden_size"], "patch_size": _PATCH,
        "spatial_merge_size": _MERGE, "window_size": 112,
    }  # fmt: skip
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
