"""A tiny random checkpoint of Gemma 4 with its chat template rebuilt.

What the published template does (https://ai.google.dev/gemma/docs/core/prompt-formatting-gemma4):

- The prompt begins with `<bos>`. A turn is `<|turn>role\\n` ... `<turn|>\\n`; the role of answers is `model`.
- There is no default system prompt. A system message is a turn of its own, `system`.
- An image is `<|image|>`, which the processor expands to `<|image>`, one placeholder for each soft token, `<image|>`.
- Texts are stripped.
- Thinking is off by default. `enable_thinking=True` writes `<|think|>` at the beginning of the system turn; the
  thoughts are `<|channel>thought\\n` ... `<channel|>`. The generation prompt is `<|turn>model\\n` in both cases.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tiny import tiny_tokenizer
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from gmner.programs.models.families import family_of

_SPECIALS = (
    "<|endoftext|>", "<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", "<|image>", "<|image|>", "<image|>", "<|audio>",
    "<|audio|>", "<audio|>", "<|video|>", "<|think|>", "<|channel>", "<channel|>",
)  # fmt: skip
TEMPLATE = (
    "{% set thinks = enable_thinking is defined and enable_thinking %}{{ '<bos>' }}"
    "{% if thinks and messages[0].role != 'system' %}{{ '<|turn>system\\n<|think|>\\n<turn|>\\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}"
    "{% if thinks and loop.first and m.role == 'system' %}{{ '<|think|>\\n' }}{% endif %}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|image|>' }}{% else %}{{ c.text | trim }}{% endif %}"
    "{% endfor %}{{ '<turn|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif %}"
)
_WIDTH, _LAYERS = 64, 2


def build_gemma4(folder: Path, seed: int = 0) -> Path:
    """Write the checkpoint with its processor into `folder`."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer(_SPECIALS, "<turn|>", TEMPLATE)
    roles = {"boi": "<|image>", "image": "<|image|>", "eoi": "<image|>"}
    roles |= {"boa": "<|audio>", "audio": "<|audio|>", "eoa": "<audio|>"}
    tokenizer._set_model_specific_special_tokens({f"{name}_token": token for name, token in roles.items()})
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in roles.items()}
    vocabulary = (len(tokenizer) // 64 + 2) * 64
    text = {
        "vocab_size": vocabulary, "vocab_size_per_layer_input": vocabulary, "hidden_size_per_layer_input": 8,
        "hidden_size": _WIDTH, "intermediate_size": 2 * _WIDTH, "num_hidden_layers": _LAYERS, "head_dim": 16,
        "num_attention_heads": 4, "num_key_value_heads": 2, "global_head_dim": 32, "sliding_window": 64,
        "layer_types": ["sliding_attention", "full_attention"], "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.convert_tokens_to_ids("<bos>"), "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id, "final_logit_softcapping": 30.0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": _LAYERS, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 16, "patch_size": 8, "pooling_kernel_size": 3,
        "position_embedding_size": 1024,
    }  # fmt: skip
    config = AutoConfig.for_model(
        "gemma4", text_config=text, vision_config=vision, audio_config=None,
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"), eoa_token_index=ids.pop("eoa"),
        **{f"{name}_token_id": token for name, token in ids.items()},
    )  # fmt: skip
    images = Gemma4ImageProcessorPil(patch_size=8, max_soft_tokens=70, pooling_kernel_size=3)
    processor = family_of("gemma4").processor_class()(
        images, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=70
    )
    model = AutoModelForImageTextToText.from_config(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = None
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
