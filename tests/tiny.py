"""Tiny random checkpoints of the supported families, with half a million parameters and their own tokenizer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "idefics3", "smolvlm", "internvl")

_WORDS = (
    "reasoning entities span type visible box true false null PER LOC ORG OTHER the a in of picture post name shown "
    "person city team Kevin Durant Paris London speech game red blue left right Find Is it where"
).split()
_SPLIT = r"""[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
_QWEN_SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_IDEFICS_SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>", "<global-img>",
    "<end_of_utterance>", *(f"<row_{row}_col_{col}>" for row in range(1, 5) for col in range(1, 5)),
)  # fmt: skip
_INTERN_SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>", "<quad>", "</quad>",
)  # fmt: skip
_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% for c in m.content %}{% if c.type == 'image' %}"
    "{{ 'IMAGE' }}{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SMOL_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}{% if m.content[0].type == 'image' %}:{% else %}: "
    "{% endif %}{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}{% else %}<image>{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
_WIDTH, _LAYERS, _VISION_WIDTH, _VISION_LAYERS = 128, 2, 64, 2
_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}


def _corpus(seed: int = 0) -> Iterator[str]:
    chosen = random.Random(seed)
    for _ in range(600):
        yield " ".join(chosen.choice(_WORDS) for _ in range(12))
        yield f'{{"span":"{chosen.choice(_WORDS)}","type":"PER","visible":true,"box":[{chosen.randint(0, 1000)},0]}}'


def tiny_tokenizer(
    specials: tuple[str, ...], eos: str, template: str, vocab_size: int = 640, pad: str = "<|endoftext|>"
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the special tokens of the family and left padding."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_SPLIT), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(_corpus(), trainer)
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=eos, pad_token=pad, padding_side="left")
    wrapped.chat_template = template
    return wrapped


def _text_config(tokenizer: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    # Real checkpoints pad the vocabulary beyond the tokenizer's; the additional ids must never be generated.
    return {
        "vocab_size": (len(tokenizer) // 64 + 2) * 64,
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


def _qwen(family: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    from gmner.programs.models.families import family_of

    template = _TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    tokenizer = tiny_tokenizer(_QWEN_SPECIALS, "<|im_end|>", template)
    tokens = {
        f"{name}_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in {
            "image_token": "image_pad",
            "video_token": "video_pad",
            "vision_start_token": "vision_start",
            "vision_end_token": "vision_end",
        }.items()
    }
    patch = 16 if family == "qwen3_vl" else 14
    vision: dict[str, Any] = {"depth": _VISION_LAYERS, "num_heads": 4, "patch_size": patch, "spatial_merge_size": 2}
    rope = {**_ROPE, "mrope_interleaved": True, "mrope_section": [6, 5, 5]} if family == "qwen3_vl" else _ROPE
    config_class, model_class = {
        "qwen2_vl": (Qwen2VLConfig, Qwen2VLForConditionalGeneration),
        "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
        "qwen3_vl": (Qwen3VLConfig, Qwen3VLForConditionalGeneration),
    }[family]
    if family == "qwen2_vl":
        vision |= {"embed_dim": _VISION_WIDTH, "hidden_size": _WIDTH, "mlp_ratio": 2}
    else:
        vision |= {"hidden_size": _VISION_WIDTH, "intermediate_size": 2 * _VISION_WIDTH, "out_hidden_size": _WIDTH}
    if family == "qwen2_5_vl":
        vision |= {"window_size": 112, "fullatt_block_indexes": [_VISION_LAYERS - 1]}
    if family == "qwen3_vl":
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    text = _text_config(tokenizer, rope_parameters=rope)
    config = config_class(vision_config=vision, text_config=text, tie_word_embeddings=True, **tokens)
    side = (2 * patch) ** 2
    pixels = {"shortest_edge": 4 * side, "longest_edge": 24 * side}
    images = Qwen2VLImageProcessorPil(patch_size=patch, merge_size=2, temporal_patch_size=2, size=pixels)
    return model_class(config), family_of(family).processor_class()(images, tokenizer, chat_template=template)


def _idefics(family: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessorPil,
    )

    from gmner.programs.models.families import family_of

    smol = family == "smolvlm"
    template = _SMOL_TEMPLATE if smol else _TEMPLATE.replace("IMAGE", "<image>")
    tokenizer = tiny_tokenizer(_IDEFICS_SPECIALS, "<end_of_utterance>" if smol else "<|im_end|>", template)
    side, patch, scale = 64, 16, 2
    vision = {
        "hidden_size": _VISION_WIDTH,
        "intermediate_size": 2 * _VISION_WIDTH,
        "num_hidden_layers": _VISION_LAYERS,
        "num_attention_heads": 4,
        "image_size": side,
        "patch_size": patch,
    }
    config = (SmolVLMConfig if smol else Idefics3Config)(
        vision_config=vision,
        text_config=_text_config(tokenizer, model_type="llama", tie_word_embeddings=True),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=scale,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    # SmolVLM splits an image into tiles and Idefics3 here does not, so that both paths of the processor are tested.
    longest = {"longest_edge": 2 * side if smol else side}
    images = (SmolVLMImageProcessorPil if smol else Idefics3ImageProcessorPil)(
        size=longest, max_image_size={"longest_edge": side}, do_image_splitting=smol
    )
    model = (SmolVLMForConditionalGeneration if smol else Idefics3ForConditionalGeneration)(config)
    length = (side // patch) ** 2 // scale**2
    return model, (family_of(family).processor_class() if smol else Idefics3Processor)(
        images, tokenizer, image_seq_len=length, chat_template=template
    )


def _internvl(family: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    from transformers import (
        GotOcr2ImageProcessorPil,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLVisionConfig,
    )

    from gmner.programs.models.families import family_of

    template = _TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>\n")
    tokenizer = tiny_tokenizer(_INTERN_SPECIALS, "<|im_end|>", template)
    roles = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>", "video": "<video>"}
    tokenizer._set_model_specific_special_tokens({f"{name}_token": token for name, token in roles.items()})
    side, patch = 56, 14
    vision = InternVLVisionConfig(
        hidden_size=_VISION_WIDTH,
        intermediate_size=2 * _VISION_WIDTH,
        num_hidden_layers=_VISION_LAYERS,
        num_attention_heads=4,
        image_size=side,
        patch_size=patch,
    )
    length = (side // patch) ** 2 // 4
    config = InternVLConfig(
        vision_config=vision,
        text_config=_text_config(tokenizer, model_type="qwen2", tie_word_embeddings=True),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=length,
    )
    # InternVL splits an image into tiles and adds a thumbnail of the whole.
    images = GotOcr2ImageProcessorPil(size={"height": side, "width": side}, crop_to_patches=True, max_patches=4)
    processor = family_of(family).processor_class()(images, tokenizer, image_seq_length=length, chat_template=template)
    return InternVLForConditionalGeneration(config), processor


def build_tiny(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a random checkpoint of a family (see `FAMILIES`) with its processor into `folder`."""
    torch.manual_seed(seed)
    builders: dict[str, Callable[[str], tuple[PreTrainedModel, ProcessorMixin]]] = {"qwen": _qwen, "inte": _internvl}
    model, processor = builders.get(family[:4], _idefics)(family)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.generation_config.bos_token_id = None
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
