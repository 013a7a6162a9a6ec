"""Architecture of the embedded model: a small Idefics3 (vision tower, connector, Llama decoder)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import nn
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)

from gmner.recipes.embedded.tokenizer import CHAT_TEMPLATE, END, PAD, SCALE

IMAGE_SIDE, PATCH, SHUFFLE = 128, 8, 2
IMAGE_TOKENS = (IMAGE_SIDE // PATCH // SHUFFLE) ** 2


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> Idefics3ForConditionalGeneration:
    """A randomly initialised model, with smooth features of their value as embeddings of the coordinates.

    Args:
        tokenizer: The tokenizer of `train_tokenizer`.
        seed: Seed of the weights.
    """
    torch.manual_seed(seed)
    ids = tokenizer.convert_tokens_to_ids
    vision = {
        "hidden_size": 160, "intermediate_size": 480, "num_hidden_layers": 4, "num_attention_heads": 5,
        "image_size": IMAGE_SIDE, "patch_size": PATCH,
    }  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 256, "intermediate_size": 640,
        "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e9}, "max_position_embeddings": 8192,
        "bos_token_id": None, "eos_token_id": ids(END), "pad_token_id": ids(PAD), "tie_word_embeddings": True,
    }  # fmt: skip
    config = Idefics3Config(
        vision_config=vision, text_config=text, image_token_id=ids("<image>"), scale_factor=SHUFFLE,
        pad_token_id=ids(PAD), tie_word_embeddings=True,
    )  # fmt: skip
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids(END)
    model.generation_config.pad_token_id = ids(PAD)
    model.generation_config.bos_token_id = None
    with torch.no_grad():
        model.get_input_embeddings().weight[coordinate_ids(tokenizer)] = _smooth_rows(256)
    _start_locally(model, torch.Generator().manual_seed(seed))
    return model


@torch.no_grad()
def _start_locally(model: Idefics3ForConditionalGeneration, rng: torch.Generator) -> None:
    """Initialise the tower similarly to a convolution, which speeds up its training.

    Position embeddings are smooth waves, queries equal keys so that heads attend to near and similar patches, values
    pass through, and linear layers use Glorot initialisation.

    Source: Trockman and Kolter, Mimetic Initialization of Self-Attention Layers, ICML 2023; the waves are ours.
    """
    tower = model.model.vision_model
    for layer in (*tower.modules(), *model.model.connector.modules()):
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=rng)
    patches = tower.embeddings.patch_embedding
    nn.init.normal_(patches.weight, std=(3 * PATCH**2) ** -0.5, generator=rng)
    tower.embeddings.position_embedding.weight.copy_(_place_rows(IMAGE_SIDE // PATCH, patches.out_channels))
    for block in tower.encoder.layers:
        attention, width = block.self_attn, patches.out_channels
        heads = [_orthonormal(width, rng)[: width // attention.num_heads] for _ in range(attention.num_heads)]
        attention.q_proj.weight.copy_(torch.cat(heads))
        attention.k_proj.weight.copy_(torch.cat(heads))
        through = _orthonormal(width, rng)
        attention.v_proj.weight.copy_(0.6 * through)
        attention.out_proj.weight.copy_(0.6 * through.T)


def _orthonormal(width: int, rng: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(width, width, generator=rng))[0]


def _place_rows(side: int, width: int) -> torch.Tensor:
    """(side * side, width) sine and cosine waves of each patch's row and column, a quarter of the width each."""
    angle = math.pi * torch.arange(side)[:, None] / side * torch.linspace(0.5, 8, width // 4)[None]
    waves = 0.5 * torch.cat([angle.sin(), angle.cos()], 1)
    return torch.cat([waves[:, None].expand(side, side, -1), waves[None].expand(side, side, -1)], -1).flatten(0, 1)


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Idefics3Processor:
    """The processor: one square tile of `IMAGE_SIDE` pixels, no splitting."""
    side = {"longest_edge": IMAGE_SIDE}
    images = Idefics3ImageProcessorPil(size=side, max_image_size=side, do_image_splitting=False)
    return Idefics3Processor(
        image_processor=images, tokenizer=tokenizer, image_seq_len=IMAGE_TOKENS, chat_template=CHAT_TEMPLATE
    )


def coordinate_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token ids of the integers 0..`SCALE`, each one token.

    Raises:
        ValueError: A number is more than one token because the vocabulary is too small.
    """
    encoded = [tokenizer(str(v), add_special_tokens=False)["input_ids"] for v in range(SCALE + 1)]
    if any(len(e) != 1 for e in encoded):
        raise ValueError("A coordinate is more than one token; train the tokenizer with a larger vocabulary.")
    return [e[0] for e in encoded]


def _smooth_rows(width: int, waves: int = 32, decay: float = 12.0) -> torch.Tensor:
    """(SCALE + 1, width) rows whose inner products fall smoothly with the distance of two coordinates."""
    value = torch.arange(SCALE + 1)[:, None] / SCALE
    k = torch.arange(1, waves + 1)[None]
    amplitude = torch.exp(-((k / decay) ** 2) / 2)
    features = torch.cat([amplitude * torch.cos(math.pi * k * value), amplitude * torch.sin(math.pi * k * value)], 1)
    basis = torch.linalg.qr(torch.randn(width, width))[0][: features.shape[1]]
    rows = features @ basis
    return rows / rows.norm(dim=1, keepdim=True) * 0.04 * math.sqrt(width)


def save(model: Idefics3ForConditionalGeneration, processor: Idefics3Processor, folder: Path) -> None:
    """Write the model, its processor, and `gmner.json` with the coordinate convention and wording of its training."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    profile = {"box_format": {"frame": "normalized", "scale": SCALE}, "terse": True}
    (folder / "gmner.json").write_text(json.dumps(profile, indent=2) + "\n", encoding="utf-8")
