"""Tiny random checkpoints of further families, each with its published chat template rebuilt.

The templates are in `tests/family_templates.py`. `tests/tiny.py` has the checkpoints on which the engine is tested in
depth; those here run through the same Auto classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import family_templates as templates
import torch
from tiny import tiny_tokenizer
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast, ProcessorMixin
from transformers.models.llama4.processing_llama4 import chat_template as llama4_template

from gmner.programs.models.families import family_of, llava_onevision

WIDTH, LAYERS, VISION_WIDTH, VISION_LAYERS = 64, 2, 32, 2

_QWEN_SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_GLM_SPECIALS = (
    "<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
    "<|begin_of_image|>", "<|image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|video|>", "<|end_of_video|>",
)  # fmt: skip
_GEMMA_SPECIALS = (
    "<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
    "<image_soft_token>", "<unused0>",
)  # fmt: skip
_LLAVA_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>", "<|object_ref_start|>")

_GEMMA4_SPECIALS = (
    "<|endoftext|>", "<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", "<|image>", "<|image|>", "<image|>", "<|audio>",
    "<|audio|>", "<audio|>", "<|video|>", "<|think|>", "<|channel>", "<channel|>",
)  # fmt: skip
_MISTRAL_SPECIALS = (
    "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]", "[IMG_BREAK]",
    "[IMG_END]",
)  # fmt: skip
_LLAMA_SPECIALS = (
    "<|begin_of_text|>", "<|eot|>", "<|finetune_right_pad|>", "<|header_start|>", "<|header_end|>", "<|image_start|>",
    "<|image_end|>", "<|image|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>", "<|python_start|>",
)  # fmt: skip
_LFM_SPECIALS = (
    "<|startoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<image>", "<|image_start|>", "<|image_end|>",
    "<|img_thumbnail|>", *(f"<|img_row_{row}_col_{col}|>" for row in range(1, 5) for col in range(1, 5)),
)  # fmt: skip
_OMNI25_TOKENS = {
    "image": "<|IMAGE|>", "audio": "<|AUDIO|>", "video": "<|VIDEO|>", "vision_bos": "<|vision_bos|>",
    "vision_eos": "<|vision_eos|>", "audio_bos": "<|audio_bos|>", "audio_eos": "<|audio_eos|>",
}  # fmt: skip
_OMNI3_TOKENS = {
    "image": "<|image_pad|>", "audio": "<|audio_pad|>", "video": "<|video_pad|>", "vision_bos": "<|vision_start|>",
    "vision_eos": "<|vision_end|>", "audio_bos": "<|audio_start|>", "audio_eos": "<|audio_end|>",
}  # fmt: skip
_MINICPM_TOKENS = {
    "image": "<|image_pad|>", "video": "<|video_pad|>", "image_start": "<image>", "image_end": "</image>",
    "slice_start": "<slice>", "slice_end": "</slice>", "image_id_start": "<image_id>", "image_id_end": "</image_id>",
}  # fmt: skip

Parts = tuple[dict[str, Any], ProcessorMixin]


@dataclass(frozen=True)
class TinyFamily:
    """How to build a tiny checkpoint of a family.

    Attributes:
        specials: The special tokens.
        eos: The token that ends an answer.
        pad: The padding token.
        template: The chat template.
        build: Tokenizer -> keyword arguments of the configuration, and the processor.
        ends: Further tokens that end an answer.
    """

    specials: tuple[str, ...]
    eos: str
    pad: str
    template: str
    build: Callable[[PreTrainedTokenizerFast], Parts]
    ends: tuple[str, ...] = field(default=())


def _text(tokenizer: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": (len(tokenizer) // 64 + 2) * 64,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}


def _ids(tokenizer: PreTrainedTokenizerFast, **tokens: str) -> dict[str, int]:
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


def _patches(patch: int) -> dict[str, Any]:
    """Settings of Qwen's image processor: 4 to 24 tokens an image."""
    side = (2 * patch) ** 2
    return {
        "patch_size": patch, "merge_size": 2, "temporal_patch_size": 2,
        "size": {"shortest_edge": 4 * side, "longest_edge": 24 * side},
    }  # fmt: skip


def _qwen_processor() -> type[ProcessorMixin]:
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    from gmner.programs.models.families.image_only import image_only

    return image_only(Qwen3VLProcessor)


def _qwen3(text: dict[str, Any], **vision: Any) -> Callable[[PreTrainedTokenizerFast], Parts]:
    def build(tokenizer: PreTrainedTokenizerFast) -> Parts:
        from transformers import Qwen2VLImageProcessorPil

        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
        seeing = {
            "depth": VISION_LAYERS, "num_heads": 4, "patch_size": 16, "spatial_merge_size": 2,
            "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH, "out_hidden_size": WIDTH,
            "num_position_embeddings": 64, **vision,
        }  # fmt: skip
        config = {
            "vision_config": seeing,
            "text_config": _text(tokenizer, rope_parameters=rope, **text),
            "tie_word_embeddings": True,
            **_ids(
                tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>",
                vision_start_token_id="<|vision_start|>", vision_end_token_id="<|vision_end|>",
            ),
        }  # fmt: skip
        images = Qwen2VLImageProcessorPil(**_patches(16))
        return config, _qwen_processor()(images, tokenizer, chat_template=tokenizer.chat_template)

    return build


_HYBRID: dict[str, Any] = {
    "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"], "num_hidden_layers": 2,
}  # fmt: skip


def _glm_processor(name: str) -> Callable[[], type[ProcessorMixin]]:
    def loaded() -> type[ProcessorMixin]:
        from transformers.models.glm4v.processing_glm4v import Glm4vProcessor
        from transformers.models.glm46v.processing_glm46v import Glm46VProcessor

        from gmner.programs.models.families.image_only import image_only

        return image_only(Glm46VProcessor if name == "glm46v" else Glm4vProcessor)

    return loaded


def _glm(name: str, **text: Any) -> Callable[[PreTrainedTokenizerFast], Parts]:
    def build(tokenizer: PreTrainedTokenizerFast) -> Parts:
        from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
        from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil

        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3], "partial_rotary_factor": 0.5}
        seeing = {
            "depth": VISION_LAYERS, "num_heads": 4, "patch_size": 14, "spatial_merge_size": 2, "image_size": 112,
            "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH, "out_hidden_size": WIDTH,
        }  # fmt: skip
        config = {
            "vision_config": seeing,
            "text_config": _text(tokenizer, rope_parameters=rope, **text),
            **_ids(
                tokenizer, image_token_id="<|image|>", video_token_id="<|video|>",
                image_start_token_id="<|begin_of_image|>", image_end_token_id="<|end_of_image|>",
                video_start_token_id="<|begin_of_video|>", video_end_token_id="<|end_of_video|>",
            ),
        }  # fmt: skip
        images = (Glm46VImageProcessorPil if name == "glm46v" else Glm4vImageProcessorPil)(**_patches(14))
        return config, _glm_processor(name)()(images, tokenizer, chat_template=tokenizer.chat_template)

    return build


def _gemma3(tokenizer: PreTrainedTokenizerFast) -> Parts:
    from transformers import Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    tokens = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer._set_model_specific_special_tokens(tokens)
    seeing = {
        "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH, "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": 4, "image_size": 56, "patch_size": 14,
    }  # fmt: skip
    config = {
        "vision_config": seeing,
        "text_config": _text(tokenizer, sliding_window=64, layer_types=["sliding_attention", "full_attention"]),
        "mm_tokens_per_image": 4,
        **_ids(
            tokenizer, boi_token_index="<start_of_image>", eoi_token_index="<end_of_image>",
            image_token_index="<image_soft_token>",
        ),
    }  # fmt: skip
    images = Gemma3ImageProcessorPil(size={"height": 56, "width": 56})
    return config, Gemma3Processor(images, tokenizer, tokenizer.chat_template, image_seq_length=4)


def _llava(tokenizer: PreTrainedTokenizerFast) -> Parts:
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    side, grids = 56, [[56, 56], [56, 112], [112, 56], [112, 112]]
    seeing = {
        "model_type": "siglip_vision_model", "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH,
        "num_hidden_layers": VISION_LAYERS, "num_attention_heads": 4, "image_size": side, "patch_size": 14,
        "vision_use_head": False,
    }  # fmt: skip
    config = {
        "vision_config": seeing,
        "text_config": _text(tokenizer, model_type="qwen2"),
        "image_grid_pinpoints": grids,
        **_ids(tokenizer, image_token_index="<image>", video_token_index="<video>"),
    }
    images = LlavaOnevisionImageProcessorPil(size={"height": side, "width": side}, image_grid_pinpoints=grids)
    template, tokens = tokenizer.chat_template, (side // 14) ** 2
    return config, llava_onevision.processor()(images, tokenizer, tokens, "full", template)


def _gemma4(name: str) -> Callable[[PreTrainedTokenizerFast], Parts]:
    def build(tokenizer: PreTrainedTokenizerFast) -> Parts:
        from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

        from gmner.programs.models.families.gemma4_unified_images import Gemma4UnifiedImageProcessor

        roles = {"boi": "<|image>", "image": "<|image|>", "eoi": "<image|>"}
        roles |= {"boa": "<|audio>", "audio": "<|audio|>", "eoa": "<audio|>"}
        tokenizer._set_model_specific_special_tokens({f"{role}_token": token for role, token in roles.items()})
        ids = _ids(tokenizer, **{f"{role}_token_id": token for role, token in roles.items() if role != "eoa"})
        text = _text(
            tokenizer, head_dim=16, global_head_dim=32, sliding_window=64, final_logit_softcapping=30.0,
            layer_types=["sliding_attention", "full_attention"], bos_token_id=tokenizer.convert_tokens_to_ids("<bos>"),
        )  # fmt: skip
        if name == "gemma4":
            text |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": text["vocab_size"]}
        seeing = {
            "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH, "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "patch_size": 8,
            "pooling_kernel_size": 3, "position_embedding_size": 1024,
        }  # fmt: skip
        without_encoder = {
            "patch_size": 8, "pooling_kernel_size": 3, "mm_embed_dim": VISION_WIDTH, "mm_posemb_size": 70,
            "output_proj_dims": VISION_WIDTH,
        }  # fmt: skip
        config = {
            "vision_config": seeing if name == "gemma4" else without_encoder,
            "text_config": text,
            "audio_config": None,
            **ids,
            **_ids(tokenizer, video_token_id="<|video|>", eoa_token_index="<audio|>"),
        }
        kind = Gemma4ImageProcessorPil if name == "gemma4" else Gemma4UnifiedImageProcessor
        images = kind(patch_size=8, max_soft_tokens=70, pooling_kernel_size=3)
        processor = family_of(name).processor_class()
        return config, processor(images, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=70)

    return build


def _mistral(tokenizer: PreTrainedTokenizerFast) -> Parts:
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    tokenizer.bos_token = "<s>"
    patch, merge = 8, 2
    config = {
        "vision_config": {
            "model_type": "pixtral", "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH,
            "num_hidden_layers": VISION_LAYERS, "num_attention_heads": 4, "image_size": 64, "patch_size": patch,
        },
        "text_config": _text(tokenizer, model_type="mistral", sliding_window=None),
        "spatial_merge_size": merge,
        "vision_feature_layer": -1,
        **_ids(tokenizer, image_token_index="[IMG]"),
    }  # fmt: skip
    images = PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size=patch)
    processor = family_of("mistral3").processor_class()
    return config, processor(images, tokenizer, patch, merge, chat_template=tokenizer.chat_template)


def _llama4(tokenizer: PreTrainedTokenizerFast) -> Parts:
    from gmner.programs.models.families.llama4_images import Llama4ImageProcessor

    tokenizer.bos_token = "<|begin_of_text|>"
    side, patch = 56, 14
    config = {
        "vision_config": {
            "hidden_size": VISION_WIDTH, "intermediate_size": 4 * VISION_WIDTH, "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": 4, "image_size": side, "patch_size": patch, "vision_output_dim": WIDTH,
            "projector_input_dim": WIDTH, "projector_output_dim": WIDTH,
        },
        "text_config": _text(
            tokenizer, intermediate_size_mlp=2 * WIDTH, num_local_experts=4, num_experts_per_tok=1, moe_layers=[1],
            attention_chunk_size=4096, no_rope_layers=[1, 0],
        ),
        **_ids(
            tokenizer, image_token_index="<|patch|>", boi_token_index="<|image_start|>",
            eoi_token_index="<|image_end|>",
        ),
    }  # fmt: skip
    images = Llama4ImageProcessor(size={"height": side, "width": side}, max_patches=4)
    processor = family_of("llama4").processor_class()
    return config, processor(images, tokenizer, patch, 0.5, chat_template=tokenizer.chat_template)


def _lfm2(tokenizer: PreTrainedTokenizerFast) -> Parts:
    from gmner.programs.models.families.lfm2_vl_images import Lfm2VlImageProcessor

    tokenizer.bos_token = "<|startoftext|>"
    tile, patch = 64, 8
    text = _text(tokenizer, model_type="lfm2", layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False)
    config = {
        "vision_config": {
            "model_type": "siglip2_vision_model", "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH,
            "num_hidden_layers": VISION_LAYERS, "num_attention_heads": 4, "patch_size": patch, "num_patches": 64,
            "vision_use_head": False,
        },
        "text_config": {name: value for name, value in text.items() if name != "head_dim"},
        "projector_hidden_size": WIDTH,
        "downsample_factor": 2,
        **_ids(tokenizer, image_token_id="<image>"),
    }  # fmt: skip
    images = Lfm2VlImageProcessor(
        encoder_patch_size=patch, tile_size=tile, min_image_tokens=4, max_image_tokens=16, max_tiles=4
    )
    return config, family_of("lfm2_vl").processor_class()(images, tokenizer, chat_template=tokenizer.chat_template)


def _omni(name: str, tokens: dict[str, str], **text: Any) -> Callable[[PreTrainedTokenizerFast], Parts]:
    def build(tokenizer: PreTrainedTokenizerFast) -> Parts:
        from transformers import Qwen2VLImageProcessorPil

        tokenizer._set_model_specific_special_tokens({f"{role}_token": token for role, token in tokens.items()})
        newer = name.startswith("qwen3")
        patch = 16 if newer else 14
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5]}
        seeing: dict[str, Any] = {
            "depth": VISION_LAYERS, "num_heads": 4, "patch_size": patch, "spatial_merge_size": 2,
            "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH, "out_hidden_size": WIDTH,
        }  # fmt: skip
        if newer:
            seeing |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
            rope["mrope_interleaved"] = True
        else:
            seeing |= {"window_size": 112, "fullatt_block_indexes": [VISION_LAYERS - 1]}
        hearing = {
            "d_model": VISION_WIDTH, "encoder_layers": 1, "encoder_attention_heads": 2, "output_dim": WIDTH,
            "encoder_ffn_dim": VISION_WIDTH, **({"downsample_hidden_size": 8} if newer else {}),
        }  # fmt: skip
        suffix = "id" if newer else "index"
        config = {
            "vision_config": seeing,
            "text_config": _text(tokenizer, rope_parameters=rope, **text),
            "audio_config": hearing,
            **_ids(tokenizer, **{f"{role}_token_{suffix}": tokens[role] for role in ("image", "audio", "video")}),
            **_ids(tokenizer, audio_start_token_id=tokens["audio_bos"], vision_start_token_id=tokens["vision_bos"]),
        }
        images = Qwen2VLImageProcessorPil(**_patches(patch))
        return config, family_of(name).processor_class()(images, tokenizer, chat_template=tokenizer.chat_template)

    return build


def _minicpm(name: str) -> Callable[[PreTrainedTokenizerFast], Parts]:
    def build(tokenizer: PreTrainedTokenizerFast) -> Parts:
        from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil

        tokens = {f"{token}_token": text for token, text in _MINICPM_TOKENS.items()}
        tokenizer._set_model_specific_special_tokens(tokens)
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
        seeing = {
            "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH, "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": 4, "image_size": 64, "patch_size": 8,
        }  # fmt: skip
        config = {
            "vision_config": seeing,
            "text_config": {"model_type": "qwen3_5_text", **_text(tokenizer, rope_parameters=rope, **_HYBRID)},
            "insert_layer_id": 0,
            "image_size": 64,
            **_ids(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
        }
        images = MiniCPMV4_6ImageProcessorPil(patch_size=8, scale_resolution=64, max_slice_nums=4)
        processor = family_of(name).processor_class()
        return config, processor(images, tokenizer, chat_template=tokenizer.chat_template)

    return build


_QWEN = (_QWEN_SPECIALS, "<|im_end|>", "<|endoftext|>")
_MINICPM_SPECIALS = ((*_QWEN_SPECIALS, *list(_MINICPM_TOKENS.values())[2:]), "<|im_end|>", "<|endoftext|>")
_GLM_TOKENS = (_GLM_SPECIALS, "<|endoftext|>", "<|endoftext|>")
_GLM_ENDS = ("<|user|>", "<|observation|>")
_MOE = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}
CHECKPOINTS: dict[str, TinyFamily] = {
    "qwen3_vl_moe": TinyFamily(*_QWEN, templates.QWEN3, _qwen3(_EXPERTS, deepstack_visual_indexes=[0])),
    "qwen3_5": TinyFamily(*_QWEN, templates.QWEN3_5, _qwen3(_HYBRID)),
    "qwen3_5_moe": TinyFamily(
        *_QWEN, templates.QWEN3_5, _qwen3({**_HYBRID, **_EXPERTS, "shared_expert_intermediate_size": WIDTH})
    ),
    "glm4v": TinyFamily(*_GLM_TOKENS, templates.GLM, _glm("glm4v"), _GLM_ENDS),
    "glm4v_moe": TinyFamily(*_GLM_TOKENS, templates.GLM, _glm("glm4v_moe", **_MOE), _GLM_ENDS),
    "glm46v": TinyFamily(*_GLM_TOKENS, templates.GLM, _glm("glm46v"), _GLM_ENDS),
    "gemma3": TinyFamily(_GEMMA_SPECIALS, "<eos>", "<pad>", templates.GEMMA3, _gemma3, ("<end_of_turn>",)),
    "gemma4": TinyFamily(_GEMMA4_SPECIALS, "<turn|>", "<|endoftext|>", templates.GEMMA4, _gemma4("gemma4")),
    "gemma4_unified": TinyFamily(
        _GEMMA4_SPECIALS, "<turn|>", "<|endoftext|>", templates.GEMMA4, _gemma4("gemma4_unified")
    ),
    "minicpmv4_6": TinyFamily(*_MINICPM_SPECIALS, templates.MINICPM, _minicpm("minicpmv4_6")),
    "minicpmv4_7": TinyFamily(*_MINICPM_SPECIALS, templates.MINICPM, _minicpm("minicpmv4_7")),
    "llava_onevision": TinyFamily(_LLAVA_SPECIALS, "<|im_end|>", "<|endoftext|>", templates.LLAVA, _llava),
    "mistral3": TinyFamily(_MISTRAL_SPECIALS, "</s>", "<pad>", templates.MISTRAL, _mistral),
    "llama4": TinyFamily(_LLAMA_SPECIALS, "<|eot|>", "<|finetune_right_pad|>", llama4_template, _llama4),
    "lfm2_vl": TinyFamily(_LFM_SPECIALS, "<|im_end|>", "<|pad|>", templates.LFM2, _lfm2),
    "qwen2_5_omni_thinker": TinyFamily(
        (*_QWEN_SPECIALS[:3], *_OMNI25_TOKENS.values()),
        "<|im_end|>",
        "<|endoftext|>",
        templates.QWEN2_5_OMNI,
        _omni("qwen2_5_omni_thinker", _OMNI25_TOKENS),
    ),
    "qwen3_omni_moe_thinker": TinyFamily(
        (*_QWEN_SPECIALS[:3], *_OMNI3_TOKENS.values()),
        "<|im_end|>",
        "<|endoftext|>",
        templates.QWEN3,
        _omni("qwen3_omni_moe_thinker", _OMNI3_TOKENS, **_EXPERTS),
    ),
}
"""Family -> how its checkpoint is built."""


def build_checkpoint(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a random checkpoint of a family in `CHECKPOINTS` into `folder`."""
    torch.manual_seed(seed)
    tiny = CHECKPOINTS[family]
    tokenizer = tiny_tokenizer(tiny.specials, tiny.eos, tiny.template, pad=tiny.pad)
    config, processor = tiny.build(tokenizer)
    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(family, **config))
    ends = [tokenizer.convert_tokens_to_ids(token) for token in (tiny.eos, *tiny.ends)]
    model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = None
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
