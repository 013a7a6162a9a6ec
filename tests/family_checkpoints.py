"""Tiny random checkpoints of further families, each with its published chat template rebuilt.

Only what a template does is rebuilt, not its text. `tests/tiny.py` has the checkpoints on which the engine is tested in
depth; those here run through the same Auto classes.

| family | begins with | roles, and the end of a turn | system | image | generation prompt | thinking |
|---|---|---|---|---|---|---|
| qwen2_vl, qwen2_5_vl | | `<|im_start|>role\\n` ... `<|im_end|>\\n` | a default one | `<|vision_start|><|image_pad|><|vision_end|>` | `<|im_start|>assistant\\n` | |
| qwen3_vl, qwen3_vl_moe | | the same | none by default | the same | the same | `-Thinking`: `<think>\\n` |
| qwen3_5, qwen3_5_moe | | the same | none by default, only first | the same | the same, `<think>\\n` | `enable_thinking`: empty block |
| glm4v, glm4v_moe, glm46v | `[gMASK]<sop>\\n` | `<|role|>\\n`, no end | none by default | `<|begin_of_image|><|image|><|end_of_image|>` | `<|assistant|>\\n` | off: `/nothink` behind the user's text and `<think></think>` |
| gemma3 | `<bos>` | `<start_of_turn>role\\n` ... `<end_of_turn>\\n`, `model` | before the text of the first user turn | `<start_of_image>` | `<start_of_turn>model\\n` | |
| gemma4 | `<bos>` | `<|turn>role\\n` ... `<turn|>\\n`, `model`; texts are stripped | as a turn, none by default | `<|image|>` | `<|turn>model\\n` | `enable_thinking`: `<|think|>` in the system turn; `<|channel>thought\\n` ... `<channel|>` |
| minicpmv4_6, minicpmv4_7 | | as qwen3_5 | none by default | `<|image_pad|>` (our guess: only the processor was read) | as qwen3_5, no block | off: empty block |
| llava_onevision | | `<|im_start|>role ` ... `<|im_end|>` | as a turn | `<image>`, first; texts follow a line feed | `<|im_start|>assistant\\n` | |

Not here, because their processors need torchvision: mistral3 (`[INST]` ... `[/INST]`, a default `[SYSTEM_PROMPT]`, `[IMG]`,
no generation prompt), llama4, lfm2_vl, kimi_k25.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tiny import tiny_tokenizer
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast, ProcessorMixin

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
_MINICPM_TOKENS = {
    "image": "<|image_pad|>", "video": "<|video_pad|>", "image_start": "<image>", "image_end": "</image>",
    "slice_start": "<slice>", "slice_end": "</slice>", "image_id_start": "<image_id>", "image_id_end": "</image_id>",
}  # fmt: skip

_PARTS = "{% for c in m.content %}{% if c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}{% endfor %}"
_QWEN_IMAGE = "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
_QWEN3_5 = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    + _PARTS.replace("IMAGE", _QWEN_IMAGE)
    + "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% else %}"
    "{{ '<think>\n' }}{% endif %}{% endif %}"
)
_QWEN3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    + _PARTS.replace("IMAGE", _QWEN_IMAGE)
    + "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_GLM = (
    "{{ '[gMASK]<sop>\n' }}{% for m in messages %}{{ '<|' + m.role + '|>\n' }}"
    + _PARTS.replace("IMAGE", "{{ '<|begin_of_image|><|image|><|end_of_image|>' }}")
    + "{% if m.role == 'user' and enable_thinking is defined and not enable_thinking %}{{ '/nothink' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think></think>\n' }}{% endif %}{% endif %}"
)
_GEMMA3 = (
    "{{ '<bos>' }}{% if messages[0].role == 'system' %}{% set first = messages[0].content[0].text + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (first if loop.first else '') }}"
    + _PARTS.replace("IMAGE", "{{ '<start_of_image>' }}").replace("c.text", "c.text | trim")
    + "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_GEMMA4 = (
    "{% set thinks = enable_thinking is defined and enable_thinking %}{{ '<bos>' }}"
    "{% if thinks and messages[0].role != 'system' %}{{ '<|turn>system\\n<|think|>\\n<turn|>\\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}"
    "{% if thinks and loop.first and m.role == 'system' %}{{ '<|think|>\\n' }}{% endif %}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|image|>' }}{% else %}{{ c.text | trim }}{% endif %}"
    "{% endfor %}{{ '<turn|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif %}"
)
_MINICPM = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    + _PARTS.replace("IMAGE", "{{ '<|image_pad|>' }}")
    + "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
_LLAVA = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' }}{% for c in m.content if c.type == 'image' %}"
    "{{ '<image>' }}{% endfor %}{% for c in m.content if c.type == 'text' %}{{ '\n' + c.text }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

NEED_TORCHVISION = ("mistral3", "llama4", "lfm2_vl", "kimi_k25")
"""Families whose processors cannot be imported without torchvision."""

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


def _gemma4(tokenizer: PreTrainedTokenizerFast) -> Parts:
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    roles = {"boi": "<|image>", "image": "<|image|>", "eoi": "<image|>"}
    roles |= {"boa": "<|audio>", "audio": "<|audio|>", "eoa": "<audio|>"}
    tokenizer._set_model_specific_special_tokens({f"{name}_token": token for name, token in roles.items()})
    ids = _ids(tokenizer, **{f"{name}_token_id": token for name, token in roles.items() if name != "eoa"})
    text = _text(
        tokenizer, hidden_size_per_layer_input=8, head_dim=16, global_head_dim=32, sliding_window=64,
        layer_types=["sliding_attention", "full_attention"], final_logit_softcapping=30.0,
        bos_token_id=tokenizer.convert_tokens_to_ids("<bos>"),
    )  # fmt: skip
    seeing = {
        "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH, "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "patch_size": 8, "pooling_kernel_size": 3,
        "position_embedding_size": 1024,
    }  # fmt: skip
    config = {
        "vision_config": seeing,
        "text_config": {**text, "vocab_size_per_layer_input": text["vocab_size"]},
        "audio_config": None,
        **ids,
        **_ids(tokenizer, video_token_id="<|video|>", eoa_token_index="<audio|>"),
    }
    images = Gemma4ImageProcessorPil(patch_size=8, max_soft_tokens=70, pooling_kernel_size=3)
    processor = family_of("gemma4").processor_class()
    return config, processor(images, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=70)


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
    "qwen3_vl_moe": TinyFamily(*_QWEN, _QWEN3, _qwen3(_EXPERTS, deepstack_visual_indexes=[0])),
    "qwen3_5": TinyFamily(*_QWEN, _QWEN3_5, _qwen3(_HYBRID)),
    "qwen3_5_moe": TinyFamily(
        *_QWEN, _QWEN3_5, _qwen3({**_HYBRID, **_EXPERTS, "shared_expert_intermediate_size": WIDTH})
    ),
    "glm4v": TinyFamily(*_GLM_TOKENS, _GLM, _glm("glm4v"), _GLM_ENDS),
    "glm4v_moe": TinyFamily(*_GLM_TOKENS, _GLM, _glm("glm4v_moe", **_MOE), _GLM_ENDS),
    "glm46v": TinyFamily(*_GLM_TOKENS, _GLM, _glm("glm46v"), _GLM_ENDS),
    "gemma3": TinyFamily(_GEMMA_SPECIALS, "<eos>", "<pad>", _GEMMA3, _gemma3, ("<end_of_turn>",)),
    "gemma4": TinyFamily(_GEMMA4_SPECIALS, "<turn|>", "<|endoftext|>", _GEMMA4, _gemma4),
    "minicpmv4_6": TinyFamily(*_MINICPM_SPECIALS, _MINICPM, _minicpm("minicpmv4_6")),
    "minicpmv4_7": TinyFamily(*_MINICPM_SPECIALS, _MINICPM, _minicpm("minicpmv4_7")),
    "llava_onevision": TinyFamily(_LLAVA_SPECIALS, "<|im_end|>", "<|endoftext|>", _LLAVA, _llava),
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
